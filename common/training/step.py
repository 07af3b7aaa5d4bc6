"""What a training step computes."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from common.batch import Batch
from common.model.latent_model import LatentModel
from common.objectives.objectives import Objective
from common.objectives.samples import PosteriorSamples
from common.seeding import seeded
from common.training.optimizers import total_steps

Auxiliary = Callable[[Batch, PosteriorSamples], dict[str, Tensor]]


def training_loss(
    model: LatentModel,
    objective: Objective,
    auxiliary: Auxiliary,
    batch: Batch,
    step: int,
    dataset_size: int | None = None,
    with_terms: bool = False,
) -> tuple[Tensor, dict[str, Any]]:
    """The loss, and its terms in nats per example, without gradients: further ones and those of the ELBO.

    Args:
        model: the model.
        objective: what is minimised.
        auxiliary: further terms.
        batch: B examples.
        step: optimiser steps so far.
        dataset_size: number of training examples, where the objective needs it.
        with_terms: whether the terms are computed.
    """
    objective = objective.at(step)
    samples = model.draws(model.condition.drop(batch), objective.num_samples)
    samples = replace(samples, dataset_size=dataset_size)
    loss, further = objective(samples, step), auxiliary(batch, samples)
    for term in further.values():
        loss = loss + term
    if not with_terms:
        return loss, {}
    elbo = samples.terms()
    means = {name: getattr(elbo, name).mean().detach() for name in ("elbo", "reconstruction", "kl")}
    return loss, {**{name: term.detach() for name, term in further.items()}, **means}


def is_logged(trainer: Trainer | None) -> bool:
    """Whether the figures of the present step are written; nobody reads those of others."""
    return trainer is not None and trainer._logger_connector.should_update_logs


def log_short(trainer: Trainer) -> None:
    """A training that is shorter than the interval of its logs logs its last step: its curves would be empty."""
    with suppress(ValueError):  # a training without an end
        logs: Any = trainer  # an attribute that Lightning sets without naming it
        logs.log_every_n_steps = max(1, min(logs.log_every_n_steps, total_steps(trainer)))


def check_support(model: LatentModel, batch: Batch) -> None:
    """Refuses data outside of the likelihood's support, where it has no density.

    Raises:
        ValueError: naming the support and the range of the data.
    """
    with torch.no_grad(), seeded(0):
        c = model.embed(batch)
        z = model.encode(batch.shown(model.missing_value).x, c).mean.unsqueeze(0)
        support = model.decode(z, c).support
    if support is not None and not support.check(batch.x).all():
        raise ValueError(
            f"the data lies outside of the likelihood's support ({support}): values from "
            f"{batch.x.min():g} to {batch.x.max():g}. Binarise it (data.binarize) or choose another likelihood"
        )
