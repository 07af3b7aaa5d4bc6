import pytest
import torch
from torch import nn

from common.batch import Batch
from common.conditions.attributes import Categorical, Continuous
from modalities.text import StyleEncoder
from modalities.text.condition import SentenceReader
from tests.text.models import word_tokenizer

WORDS = word_tokenizer("god", "made", "light", "thou", "you")
STYLES = {"style": Categorical(["old", "new", "plain"]), "age": Continuous(30.0, 10.0, 0.0, 90.0)}
READER = SentenceReader(width=8, heads=2, layers=1)


def encoder(attributes=STYLES, **options):
    return StyleEncoder(attributes, WORDS, dim=6, length=5, **options)


def labels(*styles):
    return {"style": torch.tensor(styles), "age": torch.full((len(styles),), 30.0)}


def rows(*texts):
    return WORDS.rows(texts, 5)


# Labels


def test_every_label_moves_the_embedding_and_a_missing_one_is_null():
    network = encoder()
    embedded = network(labels(0, 1, 2, -1)).vector
    assert embedded.shape == (4, 6)
    assert torch.pdist(embedded).min() > 1e-3
    assert torch.allclose(network({"age": torch.tensor([30.0])}).vector, embedded[3:], atol=1e-6)
    assert network({}).vector.shape == (1, 6)


def test_using_no_label_gives_one_embedding_for_every_style():
    network = encoder(use=[])
    assert network.attributes == {}
    assert torch.equal(network(labels(0, 1)).vector, network({}).vector.expand(2, -1))


def test_using_some_labels_leaves_the_others_out():
    network = encoder(use=["age"])
    assert list(network.attributes) == ["age"]
    assert torch.equal(network(labels(0)).vector, network(labels(1)).vector)


# Exemplars


def test_an_exemplar_gives_the_style_whatever_its_padding():
    network = encoder(use=[], exemplar=READER)
    short = {"exemplar": WORDS.rows(["god made light", "thou"])}
    embedded = network(short).vector
    assert embedded.shape == (2, 6)
    assert not torch.allclose(embedded[0], embedded[1], atol=1e-4)
    assert torch.allclose(network({"exemplar": rows("god made light", "thou")}).vector, embedded, atol=1e-5)
    assert torch.equal(network({}).vector, network(labels(0)).vector)


def test_an_absent_exemplar_is_one_of_padding_alone():
    network = encoder(exemplar=READER)
    padding = torch.full((2, 3), WORDS.pad)
    absent = network(labels(0, 1)).vector
    assert torch.equal(network({**labels(0, 1), "exemplar": padding}).vector, absent)
    assert torch.equal(absent, network.vector(labels(0, 1)) + network.exemplar_out.bias)
    padding = {**labels(0, 1), "exemplar": padding}
    network(padding).vector.sum().backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in network.parameters())


def test_an_exemplar_is_dropped_with_the_labels_of_its_row_and_of_the_view():
    network = encoder(dropout=0.5, exemplar=READER)
    fields = {**labels(*[0] * 200), "exemplar": rows(*["god made light"] * 200)}
    batch = Batch(fields["exemplar"], fields, view=Batch(fields["exemplar"], fields))
    dropped = network.drop(batch)
    gone = dropped.condition["style"] < 0
    assert 60 < gone.sum() < 140
    for part in (dropped, dropped.view):
        assert torch.equal(part.condition["style"] < 0, gone)
        assert torch.equal((part.condition["exemplar"] == WORDS.pad).all(1), gone)
        assert torch.equal(part.condition["exemplar"][~gone], fields["exemplar"][~gone])
    assert torch.equal(dropped.x, batch.x)
    null = network(network.null(fields)).vector
    embedded = network(dropped.condition).vector
    assert torch.allclose(embedded[gone], null.expand(int(gone.sum()), -1), atol=1e-6)
    assert (embedded[~gone] - null).abs().amax(1).min() > 1e-3


@pytest.mark.parametrize("options", [{"dropout": 0.5}, {"field_dropout": 0.5}])
def test_an_exemplar_alone_is_dropped_as_a_label_is(options):
    network = encoder(use=[], exemplar=READER, **options)
    exemplars = rows(*["god made light"] * 200)
    dropped = network.drop(Batch(exemplars, {**labels(*[0] * 200), "exemplar": exemplars})).condition
    assert 60 < (dropped["exemplar"] == WORDS.pad).all(1).sum() < 140
    assert dropped["style"].tolist() == [0] * 200  # which it does not read


def test_sentences_in_the_condition_need_the_tokenizer():
    with pytest.raises(ValueError, match="needs the tokenizer"):
        StyleEncoder(STYLES, exemplar=READER)


# Sources


def test_a_source_is_kept_as_states_and_tokens_beside_the_vector():
    network = encoder(source=READER)
    source = rows("god made light", "thou", "you made god light")
    c = network({**labels(0, 1, 2), "source": source})
    assert c.vector.shape == (3, network.dim) == (3, 6)
    assert c.source.states.shape == (3, 5, 8)
    assert c.source.tokens.tolist() == source.tolist()
    assert c.observed is None
    states = network.source(source.long())
    real = source != WORDS.pad
    assert torch.allclose(c.source.states[real], states[real], atol=1e-6)
    assert (c.source.states[~real] == 0).all()
    alone = network({**labels(0, 1, 2), "source": torch.full_like(source, WORDS.pad)})
    assert (c.vector - alone.vector).abs().amax(1).min() > 1e-3  # the vector tells of the source, too


def test_the_source_is_cut_to_the_longest_of_the_batch():
    network = encoder(source=READER)
    source = network({"source": rows("god made", "thou")}).source
    assert source.tokens.tolist() == WORDS.rows(["god made", "thou"]).tolist()
    assert source.states.shape == (2, 3, 8)


class AnyTokens(nn.Module):
    """Reads a sentence of any vocabulary."""

    pad = 0

    def forward(self, tokens):
        return torch.ones(*tokens.shape, 8)


@pytest.mark.parametrize("kind", [torch.int32, torch.int64])
@pytest.mark.parametrize("token", [0, 1, 4097, 50_257, 250_001, 2**24 - 1, 2**24 + 1])  # float32 has no 2**24 + 1
def test_tokens_stay_whole_numbers(token, kind):
    network = encoder(source=READER)
    network.source = AnyTokens()
    given = torch.tensor([[7, token, 3]], dtype=kind)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        c = network({"source": given})
    assert c.source.tokens.dtype == torch.int64
    assert c.expand(2).source.tokens.dtype == torch.int64
    assert c.source.tokens.tolist() == [[7, token, 3]] if token else [[7, 0]]


def test_without_a_source_only_padding_is_there():
    network = encoder(source=READER)
    c = network(labels(0, 1))
    assert c.source.tokens.tolist() == [[WORDS.pad]] * 2
    assert c.source.tokens.dtype == torch.int64
    assert (c.source.states == 0).all()
    assert network({}).vector.shape == (1, network.dim) == (1, 6)


def test_without_a_reader_the_condition_is_the_vector():
    c = encoder()(labels(0, 1))
    assert c.vector.shape == (2, 6)
    assert c.source is None
    assert c.observed is None


def test_labels_are_dropped_for_guidance_and_the_source_is_not():
    network = encoder(dropout=1.0, source=READER).eval()
    fields = {**labels(0, 1), "source": rows("god made", "thou")}
    dropped = network(network.drop(Batch(fields["source"], fields)).condition)
    assert list(network.null(fields)) == ["source"]
    null = network(network.null(fields))
    assert torch.allclose(dropped.vector, null.vector, atol=1e-5)
    assert (network(fields).vector - null.vector).abs().amax(1).min() > 1e-3
    assert torch.equal(dropped.source.tokens, null.source.tokens)
    assert torch.equal(dropped.source.tokens, network(fields).source.tokens)


@pytest.mark.parametrize(("share", "end"), [(0.0, 0), (0.2, 0), (0.49, 0), (0.51, 1), (0.8, 1), (1.0, 1)])
def test_between_two_sources_the_nearer_is_read_and_the_vectors_mix(share, end):
    network = encoder(source=READER)
    ends = [
        network({**labels(0), "source": rows("god made light")}),
        network({**labels(1), "source": rows("thou")}),
    ]
    between = ends[0].interpolate(ends[1], share)
    assert between.source.tokens.tolist() == [WORDS.rows(["god made light"]), WORDS.rows(["thou"])][end].tolist()
    assert torch.equal(between.source.states, ends[end].source.states)
    mixed = (1 - share) * ends[0].vector + share * ends[1].vector
    assert torch.allclose(between.vector, mixed, atol=1e-6)


def test_one_condition_stands_for_several():
    c = encoder(source=READER)({**labels(1), "source": rows("god made")})
    several = c.expand(3)
    assert (len(c), len(several)) == (1, 3)
    assert torch.equal(several.vector, c.vector.repeat(3, 1))
    assert torch.equal(several.source.states, c.source.states.repeat(3, 1, 1))
    assert several.source.tokens.tolist() == WORDS.rows(["god made"]).tolist() * 3
    assert several.expand(3) is several


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


def test_lists_of_texts_are_those_of_several_examples():
    parsed = encoder(source=READER).parse({"style": ["new", "old"], "source": ["god made", "thou"], "age": 41})
    assert parsed["style"].tolist() == [1, 0]
    assert torch.equal(parsed["source"], rows("god made", "thou"))
    assert parsed["age"].tolist() == [41]
    tokens = rows("god made", "thou")
    assert encoder(source=READER).parse({"source": tokens})["source"] is tokens


def test_a_label_that_is_called_source_stays_a_label():
    known = encoder({"source": Categorical(["web", "book"])}, exemplar=READER)
    assert known.parse({"source": "book"})["source"].tolist() == [1]


def test_a_model_without_conditions_says_so():
    with pytest.raises(ValueError, match="the model is unconditional"):
        encoder(use=[]).parse({"style": "old"})
