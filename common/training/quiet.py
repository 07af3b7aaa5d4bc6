"""Leaves out what libraries print of themselves: advertisements, and warnings that nobody who trains can act on."""

import logging
import re
import warnings
from pathlib import Path

# Beginnings of warnings (regular expressions), each with the reason why it is nobody's business.
WARNINGS = [
    # Lightning's own call of torch.
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    # The data are tensors in memory: processes that load them would only copy them.
    r"The '\w+' does not have many workers which may be a bottleneck",
    # The interval counts the steps of the whole training, and every epoch logs its validation.
    r"The number of training batches \(\d+\) is smaller than the logging interval",
    # Lightning orders the calls; 16-bit training leaves out its first steps until it has found its scale.
    r"Detected call of `lr_scheduler\.step\(\)` before `optimizer\.step\(\)`",
    # torch's own call, in SequentialLR.
    r"The epoch parameter in `scheduler\.step\(\)` was not necessary and is being deprecated",
    # A training that goes on writes beside its own checkpoints; the run folder belongs to no other.
    r"Checkpoint directory .* exists and is not empty",
    # A checkpoint holds the averaged weights, which are those that are tested.
    r"You're using the WeightAveraging callback, but loading a checkpoint outside the 'fit' stage",
    # torch advises to keep the option that configs/trainer/ddp.yaml sets until there is another.
    r"`broadcast_buffers` is deprecated",
    # How the processes' gradients lie in memory.
    r"Grad strides do not match bucket view strides",
    # The model alone has this hook; the data's own hook is another.
    r"You have overridden `on_before_batch_transfer` in `LightningModule` but have passed in",
    # A program that passes a command line does so on purpose.
    r"LightningCLI's args parameter is intended to run from within Python",
]

# Beginnings of Lightning's messages, likewise.
MESSAGES = [
    # Advertisements.
    r"\W*Tip: For seamless cloud",
    # No configuration of the suite uses TPUs.
    r"TPU available: False, using: 0 TPU cores",
    # What Lightning does in order to count steps, to restore averaged weights and to keep the suite's summary.
    r"Loading `train_dataloader` to estimate number of stepping batches",
    r"Found current_model_state in the checkpoint",
    r"Trainer already configured with model summary callbacks",
    # The last epoch says of how many it is.
    r"`Trainer\.fit` stopped: `max_epochs=\d+` reached",
    # Another message follows when it is done.
    r"Restoring states from the checkpoint path at",
]

ROOT = Path(__file__).parents[2]
_formatted = warnings.formatwarning


def quiet() -> None:
    """Installs the filters for this process, and prints the suite's own warnings without their line of code.

    A second call changes nothing.
    """
    for beginning in WARNINGS:
        warnings.filterwarnings("ignore", message=rf"\s*{beginning}")
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_wanted)
    warnings.formatwarning = _own


def _wanted(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    return not any(re.match(beginning, message) for beginning in MESSAGES)


def _own(message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None) -> str:
    """A warning of the suite is a sentence; any other one looks as before."""
    own = any(Path(filename).is_relative_to(ROOT / name) for name in ("common", "modalities"))
    return f"Warning: {message}\n" if own else _formatted(message, category, filename, lineno, line)
