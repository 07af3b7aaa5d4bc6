"""Advertisements and libraries' talk about themselves are left out; everything that concerns a person stays."""

import logging
import warnings

import pytest
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from common.training import monitors
from common.training.quiet import quiet

LOGGER = logging.getLogger("lightning.pytorch.utilities.rank_zero")


@pytest.fixture
def messages(caplog, monkeypatch):
    """What Lightning's messages look like after `quiet`."""
    monkeypatch.setattr(LOGGER, "filters", [])
    monkeypatch.setattr(logging.getLogger("lightning.pytorch"), "propagate", True)

    def said(*texts):
        with caplog.at_level(logging.INFO):
            for text in texts:
                rank_zero_info(text)
        return caplog.messages

    return said


def warned(*texts):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        quiet()
        for text in texts:
            warnings.warn(text, UserWarning, stacklevel=1)
    return [str(warning.message) for warning in caught]


def test_advertisements_and_internal_steps_are_left_out(messages):
    quiet()
    assert not messages(
        "💡 Tip: For seamless cloud logging and experiment tracking, try installing [litlogger]",
        "💡 Tip: For seamless cloud uploads and versioning, try installing [litmodels]",
        "TPU available: False, using: 0 TPU cores",
        "`Trainer.fit` stopped: `max_epochs=1` reached.",
        "Loading `train_dataloader` to estimate number of stepping batches.",
        "Trainer already configured with model summary callbacks: [<class 'X'>]. Skipping setting a default",
    )


def test_what_a_person_wants_to_know_of_a_training_stays(messages):
    quiet()
    wanted = [
        "GPU available: True (cuda), used: True",
        "TPU available: True, using: 8 TPU cores",
        "`Trainer.fit` stopped: `max_steps=100` reached.",
        "Time limit reached. Elapsed time is 0:10:00. Signaling Trainer to stop.",
        "Loaded model weights from the checkpoint at best.ckpt",
        "Digits: 4000 train, 500 val, 500 test examples",
        "Tip: normalise the data",
    ]
    assert messages(*wanted) == wanted


def test_warnings_that_nobody_can_act_on_are_left_out():
    assert not warned(
        "`isinstance(treespec, LeafSpec)` is deprecated, use `isinstance(treespec, TreeSpec)` instead.",
        "The 'train_dataloader' does not have many workers which may be a bottleneck. Consider increasing",
        "The number of training batches (2) is smaller than the logging interval Trainer(log_every_n_steps=20).",
        "Detected call of `lr_scheduler.step()` before `optimizer.step()`. In PyTorch 1.1.0 and later",
        "Checkpoint directory /runs/image/digits/one/checkpoints exists and is not empty.",
    )


def test_warnings_about_the_data_the_model_or_the_run_stay():
    wanted = [
        "epoch 2: the latent carries almost nothing: KL 0.553 nats, 0 of 32 units in use.",
        "It is recommended to use `self.log('val/my_metric', ..., sync_dist=True)` when logging on epoch level",
        "There is a wandb run already in progress and newly created instances of `WandbLogger` will reuse this run.",
        "Precision 16-mixed is not supported by the model summary.",
        "GPU available but not used. You can set it by doing `Trainer(accelerator='gpu')`.",
        "lbfgs failed to converge",
    ]
    assert warned(*wanted) == wanted


def test_a_second_call_adds_nothing(monkeypatch):
    monkeypatch.setattr(LOGGER, "filters", [])
    with warnings.catch_warnings():
        quiet()
        before = len(warnings.filters), len(LOGGER.filters)
        quiet()
        assert (len(warnings.filters), len(LOGGER.filters)) == before


def test_a_warning_of_the_suite_is_a_sentence_and_others_name_their_place(monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    quiet()
    own = warnings.formatwarning("z carries nothing", UserWarning, monitors.__file__, 50)
    assert own == "Warning: z carries nothing\n"
    assert (
        warnings.formatwarning("careful", UserWarning, "/lib/other.py", 7) == "/lib/other.py:7: UserWarning: careful\n"
    )
