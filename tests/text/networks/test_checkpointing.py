"""Activation checkpointing: the same losses and gradients, dropout included, with fewer numbers kept in between."""

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from common.batch import Batch
from common.conditions.attributes import SOURCE, Categorical
from common.training.compiled_step import PLAIN, CompiledStep
from modalities.text import StyleEncoder, TextStyleCVAE
from modalities.text.condition import SentenceReader
from modalities.text.networks.architectures import Architecture, Compact
from tests.scripts.own_data import OWN
from tests.scripts.resume import Runs, differences, rows_of
from tests.text.models import word_tokenizer

WORDS = word_tokenizer(*(f"w{number}" for number in range(200)))
LENGTH = 16


def model(checkpointing, source=False, **options):
    torch.manual_seed(1)
    reader = SentenceReader(width=32, heads=2, layers=2, dropout=0.2) if source else None
    style = StyleEncoder({"style": Categorical("ab")}, WORDS, LENGTH, source=reader)
    made = Compact(width=32, heads=2, encoder_layers=3, decoder_layers=3, dropout=0.2, **options)
    return TextStyleCVAE(
        style, WORDS, LENGTH, 8, 2, stride=8, architecture=made, checkpointing=checkpointing, word_dropout=0.2
    ).train()


def batch(source=False, rows=12):
    x = torch.randint(4, len(WORDS), (rows, LENGTH))
    x[:, -1] = WORDS.eos
    condition = {"style": torch.arange(rows) % 2}
    return Batch(x, {**condition, SOURCE: x.flip(0)} if source else condition)


def step(model, batch):
    """Loss and gradients of a training step, and the bytes of different tensors that are kept for them."""
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = (storage.nbytes(), tensor)  # the tensor lives, so that no address is used again
        return tensor

    torch.manual_seed(5)
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = -model.draws(model.condition.drop(batch)).terms().elbo.mean()
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    count = sum(size for place, (size, _) in kept.items() if place not in weights)
    loss.backward()
    return loss.item(), {n: w.grad for n, w in model.named_parameters() if w.grad is not None}, count


@pytest.mark.parametrize(
    "options",
    [{}, {"inject": "both", "latent_layers": 2}, {"source": True}, {"copy_latent": True, "inject": "addition"}],
    ids=["prefix", "reader", "source", "copy"],
)
def test_gradients_are_the_same_with_dropout_and_less_is_kept(options):
    given = batch("source" in options)
    plain, again = (step(model(on, **options), given) for on in (False, True))
    assert again[0] == plain[0]
    assert again[1].keys() == plain[1].keys()
    for name, gradient in plain[1].items():
        assert torch.equal(again[1][name], gradient), name
    assert any(gradient.abs().max() > 0 for gradient in plain[1].values())
    assert again[2] < 0.5 * plain[2]


def test_what_is_kept_grows_by_a_layers_input_alone():
    kept = {}
    for on in (False, True):
        for layers in (2, 6):
            made = model(on)
            made.encoder.layers.extend(model(on).encoder.layers[0] for _ in range(layers - 2))
            kept[on, layers] = step(made, batch())[2]
    tokens = 12 * (LENGTH + 1)
    own = (kept[True, 6] - kept[True, 2]) / 4
    assert own == pytest.approx(4 * 32 * tokens, rel=0.15)  # float32 [N, T, E]
    assert (kept[False, 6] - kept[False, 2]) / 4 > 10 * own


def test_nothing_is_computed_again_where_there_are_no_gradients(monkeypatch):
    monkeypatch.setattr("modalities.text.networks.checkpointing.checkpoint", lambda *_, **__: pytest.fail("computed"))
    with torch.no_grad():
        model(True).eval().draws(batch())


def test_an_architecture_that_cannot_do_it_is_refused():
    class Plain(Architecture):
        def encoder(self, tokenizer, length, condition_dim):
            made = nn.Linear(1, 1)
            made.width = 4
            return made

        def decoder(self, tokenizer, sizes):
            return nn.Linear(1, 1)

    style = StyleEncoder({"style": Categorical("ab")}, WORDS, LENGTH)
    with pytest.raises(ValueError, match=r"model\.checkpointing: Plain has no part that can be computed again"):
        TextStyleCVAE(style, WORDS, LENGTH, architecture=Plain(), checkpointing=True)


def test_a_training_with_it_is_the_same_training_and_a_resumed_one_may_turn_it_on(tmp_path):
    runs = Runs(OWN[1], tmp_path, "--trainer.log_every_n_steps", "1")
    plain, again = (runs.fit(name, "--model.checkpointing", name) for name in ("false", "true"))
    assert differences(plain, again) == []
    assert len(rows_of(plain)) > 5
    runs.main(
        ["fit", "--config", str(plain / "config.yaml"), "--ckpt_path", str(plain / "checkpoints" / "last.ckpt"),
         "--model.checkpointing", "true", "--trainer.max_epochs", "4"]
    )  # fmt: skip
    assert len(rows_of(plain)) > len(rows_of(again))


@pytest.mark.slow  # minutes of compiling
def test_a_compiled_step_has_the_same_gradients(monkeypatch):
    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function, **how: compiled(function, backend="aot_eager", **how))
    found = []
    for number in (0, PLAIN):  # before and after the step is compiled
        made = model(True)
        one = CompiledStep(made, made.objective, made.auxiliary, varying=True)
        torch.manual_seed(3)
        one(batch(), number, None)[0].backward()
        assert not one.failed
        found.append({name: w.grad for name, w in made.named_parameters() if w.grad is not None})
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-6, atol=1e-7, msg=name)
