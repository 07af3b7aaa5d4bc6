from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.optim.swa_utils import AveragedModel

from common.training.averaging import WeightEMA
from modalities.image import AttributeEncoder, ImageCVAE
from modalities.image.networks import MLP


def left(decay, updates):
    """How much of the weights at the start the average still holds: they are 1, and 0 from the second update on."""
    ema, weight = WeightEMA(decay), torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.ones_(weight.weight)
    average = AveragedModel(weight, multi_avg_fn=ema.step)
    average.update_parameters(weight)  # the first update copies
    torch.nn.init.zeros_(weight.weight)
    for _ in range(updates):
        average.update_parameters(weight)
    return average.module.weight.item()


def test_of_the_weights_at_the_start_nothing_is_left_after_a_short_training():
    assert left(0.999, 5) == pytest.approx(2 / 11 * 3 / 12 * 4 / 13 * 5 / 14 * 6 / 15)
    assert left(0.999, 100) < 1e-9


def test_after_the_warm_up_it_is_the_exponential_average_of_its_decay():
    # (1 + t) / (10 + t) >= .5 from t = 8 on.
    assert left(0.5, 10) == pytest.approx(0.25 * left(0.5, 8))
    assert left(0.0, 1) == 0.0


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_that_averages_nothing_or_never_forgets_is_refused(decay):
    with pytest.raises(ValueError, match="decay must be at least 0 and below 1"):
        WeightEMA(decay)


def test_averages_of_weights_that_are_divided_among_processes_are_refused():
    with pytest.raises(ValueError, match="--averaging null"):
        WeightEMA(0.9).setup(SimpleNamespace(strategy=ModelParallelStrategy()), torch.nn.Linear(1, 1), "fit")


class Trace(Callback):
    """Keeps a weight after every step."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, model, *args):
        self.seen.append(model.decoder.layers[0].weight.detach().clone())


def test_the_model_ends_with_the_average_of_its_training(digits, tmp_path):
    trace = Trace()
    model = ImageCVAE(AttributeEncoder(digits.attributes), architecture=MLP([32]), latent_dim=4)
    Trainer(
        default_root_dir=tmp_path, callbacks=[WeightEMA(0.9), trace], logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, accelerator="cpu", max_steps=4, limit_val_batches=0,
    ).fit(model, digits)  # fmt: skip
    expected = trace.seen[0]
    for t, weight in enumerate(trace.seen[1:], 1):
        decay = (1 + t) / (10 + t)
        expected = decay * expected + (1 - decay) * weight
    assert torch.allclose(model.decoder.layers[0].weight, expected, atol=1e-6)


def test_a_weight_of_two_modules_moves_once_and_a_second_training_has_its_own_averages(digits, tmp_path):
    ema = WeightEMA(0.9)
    for number in range(2):
        trace = Trace()
        model = ImageCVAE(AttributeEncoder(digits.attributes), architecture=MLP([32]), latent_dim=4)
        model.decoder.again = torch.nn.Linear(1, 1)
        model.decoder.again.weight = model.decoder.layers[0].weight  # tied
        Trainer(
            default_root_dir=tmp_path, callbacks=[ema, trace], logger=False, enable_progress_bar=False,
            enable_model_summary=False, enable_checkpointing=False, accelerator="cpu", max_steps=3,
            limit_val_batches=0,
        ).fit(model, digits)  # fmt: skip
        expected = trace.seen[0]
        for t, weight in enumerate(trace.seen[1:], 1):
            expected = expected + (1 - min(0.9, (1 + t) / (10 + t))) * (weight - expected)
        assert torch.allclose(model.decoder.layers[0].weight, expected, atol=1e-6), number
