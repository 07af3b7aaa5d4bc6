from lightning.pytorch import Callback, Trainer

from common.training.idle_hooks import OF_A_STEP, skip_idle_hooks
from modalities.image import AttributeEncoder, ImageCVAE
from modalities.image.networks import MLP


class Counts(Callback):
    """Counts the calls of one hook."""

    def __init__(self):
        self.calls = 0

    def on_train_batch_end(self, *arguments):
        """Counts."""
        self.calls += 1


class More(Counts):
    """Inherits the hook that counts."""


def test_hooks_without_a_body_are_hidden_and_all_others_called(digits, tmp_path):
    counts, more = Counts(), More()
    trainer = Trainer(
        default_root_dir=tmp_path, callbacks=[counts, more], logger=False, enable_progress_bar=False, max_steps=3,
        enable_model_summary=False, enable_checkpointing=False, accelerator="cpu", limit_val_batches=0,
    )  # fmt: skip
    skip_idle_hooks(trainer.callbacks)
    hidden = [name for name in OF_A_STEP if getattr(counts, name) is None]
    assert hidden == [name for name in OF_A_STEP if name != "on_train_batch_end"]
    trainer.fit(ImageCVAE(AttributeEncoder(digits.attributes), architecture=MLP([8]), latent_dim=2), digits)
    assert (counts.calls, more.calls) == (3, 3)
