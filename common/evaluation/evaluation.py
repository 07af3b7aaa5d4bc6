"""Validation and test: per-example columns gathered from every process, and the figures made from them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed
from lightning_utilities.core.rank_zero import rank_zero_warn
from torch import Tensor

from common.batch import Batch
from common.conditions.attributes import Categorical, Fields
from common.configurable import Configurable
from common.distributions.noise import example_noise
from common.evaluation import bounds, information, probes
from common.evaluation.columns import conditions_of
from common.evaluation.control import control_figures
from common.objectives.objectives import Draws, factorises
from common.results import Measurement

Candidates = tuple[Fields, Tensor, bool]  # fields [M], weights [M], and whether they are all the conditions there are
LEAST_EFFECTIVE = 2.0  # effective importance samples below which a test warns


def test_columns(model: Any, batch: Batch, draws: Draws) -> dict[str, Tensor]:
    """The per-example figures of a test beyond the ELBO; NaN where an example is beyond the configured number."""
    evaluation: Evaluation = model.evaluation
    cost = bounds.random_latent_cost(model, batch, draws.posterior, model.embed(batch), evaluation.seed)
    columns = {"random_latent_cost": cost}
    if factorises(draws.prior):
        columns["kl_per_unit"] = draws.kl_per_unit()

    def nll(part: Batch) -> tuple[Tensor, ...]:
        estimate = bounds.log_likelihood(model, part, evaluation.num_samples, evaluation.seed)
        return -estimate.log_likelihood, estimate.effective_sample_size

    columns["nll"], columns["effective_sample_size"] = _of_first(evaluation.nll_examples, batch, nll, 2)
    if evaluation.prior_samples:

        def prior_nll(part: Batch) -> tuple[Tensor, ...]:
            samples, seed = evaluation.prior_samples, evaluation.seed
            return (-bounds.prior_log_likelihood(model, part, samples, seed),)

        (columns["nll_from_prior"],) = _of_first(evaluation.nll_examples, batch, prior_nll, 1)
    if model.candidates is not None:
        fields, weights, exact = model.candidates

        def gain(part: Batch) -> tuple[Tensor, ...]:
            samples, seed = evaluation.gain_samples, evaluation.seed
            return (bounds.condition_gain(model, part, fields, weights, exact, samples, seed),)

        (columns["condition_gain"],) = _of_first(evaluation.gain_examples, batch, gain, 1)
    return columns


def _of_first(
    limit: int | None, batch: Batch, figures: Callable[[Batch], tuple[Tensor, ...]], count: int
) -> tuple[Tensor, ...]:
    """Figures [B] of the examples whose index is below the limit; NaN for the others."""
    chosen = batch.positions >= 0 if limit is None else batch.positions < limit
    columns = tuple(torch.full(chosen.shape, float("nan"), device=batch.x.device) for _ in range(count))
    if chosen.any():
        for column, values in zip(columns, figures(batch[chosen]), strict=True):
            column[chosen] = values.float()
    return columns


def training_candidates(model: Any) -> Candidates | None:
    """Conditions of the training split that the condition gain compares with; None for an unconditional model."""
    datamodule = model.trainer.datamodule
    used = getattr(model.condition, "attributes", {})
    if datamodule is None or not used or not hasattr(datamodule, "conditions"):
        return None
    fields = {name: field for name, field in datamodule.conditions("train").items() if name in used}
    return bounds.condition_candidates(fields)


@dataclass(frozen=True)
class Evaluation(Configurable):
    """Sample counts and seed of validation and test.

    Attributes:
        num_samples: importance samples for the test NLL.
        prior_samples: samples of the NLL by plain Monte Carlo from the prior; 0 leaves it out.
        nll_examples: the NLL is that of the first so many test examples; None takes all.
        gain_samples: importance samples for the condition gain.
        gain_examples: test examples for the condition gain, which costs one NLL for each distinct condition.
        control_samples: generated samples that the judge looks at.
        guidance: of generated samples, as in `ConditionalELBO.sample`; above 1 exaggerates the condition.
        seed: seed of all noise in evaluation.
    """

    num_samples: int = 1000
    prior_samples: int = 0
    nll_examples: int | None = None
    gain_samples: int = 50
    gain_examples: int = 100
    control_samples: int = 1000
    guidance: float = 1.0
    seed: int = 0

    def measure(self, model: Any, table: dict[str, Tensor]) -> dict[str, Measurement]:
        """The figures of a test from its gathered table, by name (`test/...`): the same in every process."""
        exact = model.candidates is not None and model.candidates[2]
        importance = f"importance sampling, {self.num_samples} samples"
        estimators_of = {
            "elbo": "one posterior draw",
            "reconstruction": "one posterior draw",
            "kl": "closed form" if "kl_per_unit" in table else "one posterior draw",
            "nll": importance,
            "nll_from_prior": f"Monte Carlo from the prior, {self.prior_samples} samples",
            "random_latent_cost": "one posterior and one prior draw",
            "condition_gain": f"{importance.split(',')[0]}, {self.gain_samples} samples, "
            + ("all conditions" if exact else "own and 32 drawn conditions"),
        }
        figures = {}
        for name, estimator in estimators_of.items():
            if name in table:
                known = table[name][~table[name].isnan()]
                figures[f"test/{name}"] = Measurement.mean(known, "nats", estimator)
        size = table["effective_sample_size"]
        effective = figures["test/effective_sample_size"] = Measurement.mean(size[~size.isnan()], "samples", importance)
        if effective.value < LEAST_EFFECTIVE and self.num_samples > LEAST_EFFECTIVE:
            rank_zero_warn(
                f"single importance samples decide the NLL (mean effective sample size {effective.value:.1f} of "
                f"{self.num_samples}): it is a bound far from its limit, and the condition gain, a difference of "
                "such bounds, says nothing. Raise model.evaluation.num_samples and gain_samples",
                category=UserWarning,
            )
        figures |= self._latent_figures(table)
        figures |= self._leakage(model, table)
        return figures | self._control(model, table)

    def _control(self, model: Any, table: dict[str, Tensor]) -> dict[str, Measurement]:
        """What the judge says of samples; and, where combinations of conditions were held out, of those alone."""
        data, figures = model.trainer.datamodule, {}
        judge = data.judge() if hasattr(data, "judge") else None
        unseen = data.unseen("test") if hasattr(data, "unseen") else None
        if judge is not None:
            arguments = self.control_samples, self.seed, self.guidance
            conditions = data.conditions("test")
            figures = control_figures(model, judge, conditions, *arguments)
            if unseen is not None and unseen.any():
                apart = control_figures(
                    model, judge, {name: field[unseen] for name, field in conditions.items()}, *arguments
                )
                figures |= {f"test/unseen/{name.removeprefix('test/')}": figure for name, figure in apart.items()}
        if unseen is not None:
            nll = table["nll"][unseen[table["index"]] & ~table["nll"].isnan()]
            if len(nll):
                how = f"importance sampling, {self.num_samples} samples; combinations that training never saw"
                figures["test/unseen/nll"] = Measurement.mean(nll, "nats", how)
        return figures

    def _latent_figures(self, table: dict[str, Tensor]) -> dict[str, Measurement]:
        mean, count = table["mean"], len(table["mean"])
        shared, n = information.mutual_information(mean, table["std"], self.seed)
        bound = f"aggregate posterior of {n} examples, at most log {n}"
        figures = {
            "test/active_units": Measurement(
                information.active_units(mean), None, count, "units", "variance of the posterior mean > .01"
            ),
            "test/effective_units": Measurement(
                information.effective_units(mean), None, count, "units", "effective rank of the posterior means"
            ),
            "test/mutual_information": Measurement(shared, None, n, "nats", bound),
        }
        if "kl_per_unit" in table:
            units = information.informative_units(table["kl_per_unit"])
            figures["test/active_units_kl"] = Measurement(units, None, count, "units", "mean KL > .05 nats")
        return figures

    def _leakage(self, model: Any, table: dict[str, Tensor]) -> dict[str, Measurement]:
        """Leakage of each categorical field of the data, and their mean."""
        attributes = getattr(model.trainer.datamodule, "attributes", {})
        # Draws, not means: the mean of a unit that the decoder ignores can tell a condition that z does not.
        noise = example_noise(self.seed, table["index"], (1, table["mean"].shape[1]))[0]
        z = table["mean"] + table["std"] * noise
        figures = {}
        for name, field in conditions_of(table).items():
            if not isinstance(attributes.get(name), Categorical):
                continue
            try:
                value, stderr = probes.latent_leakage(z, field, self.seed)
            except ValueError:  # too few examples of all classes but one: there is nothing to tell apart
                continue
            text = "5-fold linear probe on posterior draws, accuracy above the majority rate"
            figures[f"test/leakage/{name}"] = Measurement(value, stderr, len(field), "accuracy", text)
        if figures:
            values = torch.tensor([figure.value for figure in figures.values()])
            first = next(iter(figures.values()))
            mean = Measurement(values.mean().item(), None, first.n, first.unit, f"{first.estimator}, mean over fields")
            figures["test/leakage"] = mean if len(figures) > 1 else first
        return figures
