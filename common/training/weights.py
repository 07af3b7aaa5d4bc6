"""A new training from the weights of another run."""

from pathlib import Path
from typing import Any

from lightning_utilities.core.rank_zero import rank_zero_info

from common.nn.transplant import Transplant, transplant
from common.training.checkpoint import model_of
from common.training.module import ConditionalELBO


def start_from(model: ConditionalELBO, checkpoint: dict[str, Any], path: Path) -> Transplant:
    """Copies the weights of a checkpoint into a new model, and says what was loaded, resized and left fresh.

    Conditions, categories and columns are found by their names; new ones start fresh. See `common.nn.transplant`.

    Raises:
        ValueError: if the checkpoint cannot rebuild its model, or nothing in it fits the new one.
    """
    old = model_of(checkpoint, ConditionalELBO, path, "cpu", {})
    if model.latent_prior.latent_dim is None and old.latent_prior.latent_dim is not None:
        model.build_prior(old.latent_prior.latent_dim)
    result = transplant(model, old)
    if not result.copied and not result.resized:
        raise ValueError(f"no weight of {path} fits this model: it is a {type(old).__name__} of other networks")
    model.has_weights = True
    rank_zero_info(f"weights of {path}: {result}")
    return result
