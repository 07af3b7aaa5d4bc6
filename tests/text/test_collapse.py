"""Each remedy against posterior collapse, for its effect on a small model of short verses."""

from pathlib import Path

import pytest
import torch
import yaml

from common.objectives.objectives import ELBO
from common.objectives.schedules import Cyclical, Linear
from modalities.text import StyleEncoder, TextStyleCVAE
from modalities.text.data import Bible
from modalities.text.networks.architectures import Compact

pytestmark = pytest.mark.slow
STEPS = 400


def trained(data, **arguments):
    """A model after 400 steps, in evaluation mode."""
    torch.manual_seed(0)
    condition = StyleEncoder(data.attributes, dim=16)
    sizes = {"latent_dim": 16, "vectors": 2, "architecture": Compact(48, 4, 1, 1, 0.0)}
    model = TextStyleCVAE(condition, data.tokenizer, data.length, **sizes, **arguments)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    step, epoch = 0, 0
    model.train()
    while step < STEPS:
        loader = data.loader("train", shuffle=True)
        loader.set_epoch(epoch)
        epoch += 1
        for batch in loader:
            batch = data.transform(batch, training=True)
            model.language_model_phase = step < model.language_model_steps
            draws = model.draws(batch)
            loss = model.objective(draws, step) + sum(model.auxiliary(batch, draws).values())
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            step += 1
            if step == STEPS:
                break
    model.language_model_phase = False
    return model.eval()


def kl(model, data):
    with torch.no_grad():
        return model.elbo(data.batch("test", 200)).kl.mean().item()


@pytest.fixture(scope="module")
def short_verses():
    return Bible(words=8, vocabulary=600, batch_tokens=512)


@pytest.fixture(scope="module")
def plain(short_verses):
    return kl(trained(short_verses), short_verses)


def test_without_a_remedy_the_latent_collapses(plain):
    assert plain < 0.1


@pytest.mark.parametrize(
    ("arguments", "least"),
    [
        ({"objective": ELBO(free_bits=0.25)}, 0.7),
        ({"objective": ELBO(beta=Cyclical(period=1600, rise=1.0))}, 0.3),  # on the way up; at beta = 1 it closes again
        ({"objective": ELBO(beta=Linear(delay=300, steps=400))}, 1.5),  # an autoencoder first
        ({"bag_of_words": 1.0}, 0.6),
        ({"language_model_steps": 200, "objective": ELBO(free_bits=0.25)}, 1.2),
    ],
    ids=["free bits", "cyclical annealing", "autoencoder warm start", "bag of words", "language model warm start"],
)
def test_each_remedy_keeps_the_latent_open(short_verses, plain, arguments, least):
    assert kl(trained(short_verses, **arguments), short_verses) > plain + least


def test_word_dropout_makes_the_decoder_ask_the_latent(short_verses):
    lenient = {"objective": ELBO(beta=0.3)}
    asking = trained(short_verses, **lenient, word_dropout=0.8)
    assert kl(asking, short_verses) > kl(trained(short_verses, **lenient), short_verses) + 0.4


@pytest.mark.parametrize("stacked", [[], ["bible_translation"], ["bible_rewriting"], ["bible_pretrained"]])
def test_the_warm_start_of_a_configuration_leaves_half_of_the_training_to_z(stacked):
    model, data, epochs = {}, {"vocabulary": 4096}, 0
    for name in ["bible", *stacked]:
        config = yaml.safe_load((Path("configs") / "text" / f"{name}.yaml").read_text())
        model["language_model_steps"] = config["model"].get("language_model_steps", model.get("language_model_steps"))
        beta = config["model"].get("objective", {"init_args": model})["init_args"].get("beta", model.get("beta"))
        model["beta"] = beta
        data |= {key: value for key, value in config["data"]["init_args"].items() if key != "tokenizer"}
        epochs = config["trainer"]["max_epochs"]
    steps = epochs * len(Bible(**data).loader("train", shuffle=True))
    ready = model["language_model_steps"]
    if isinstance(model["beta"], dict):
        ready = max(ready, model["beta"]["init_args"]["delay"] + model["beta"]["init_args"]["steps"])
    assert model["language_model_steps"] <= steps / 2
    assert ready <= 0.65 * steps
