"""Validation and test: per-example columns gathered from every process, and the figures computed from them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.distributed
from lightning_utilities.core.rank_zero import rank_zero_warn
from torch import Tensor

from common.batch import Batch
from common.conditions.attributes import Attribute, Categorical
from common.conditions.classifier import Judge, Reader
from common.configurable import Configurable
from common.data.datamodule import ConditionalDataModule
from common.data.splits import Split, some_rows
from common.distributions.noise import example_noise
from common.evaluation import bounds, information, probes
from common.evaluation.annealing import Annealing, annealed_log_likelihood, sandwiched_log_likelihood
from common.evaluation.bounds import Candidates
from common.evaluation.columns import GROUP, Columns, columns_of, conditions_of
from common.evaluation.control import SECOND, control_figures
from common.evaluation.proposals import Proposal
from common.model.generation import Generation
from common.model.latent_model import LatentModel
from common.objectives.samples import PosteriorSamples
from common.results import Measurement

LEAST_EFFECTIVE = 5.0  # effective importance samples below which a test warns
CONDITIONS = 32  # most that the gain compares with, where nobody says how many
REFINE = 100  # steps of refining that it suggests


@dataclass(frozen=True)
class Evaluation(Configurable):
    """Sample counts and seed of validation and test.

    Attributes:
        num_samples: importance samples for the test NLL.
        prior_samples: samples of the NLL by plain Monte Carlo from the prior; 0 omits it.
        nll_examples: number of test examples for the NLL, drawn at random, the same ones for every model and seed;
            None takes all, 0 omits it.
        gain_samples: importance samples for the condition gain.
        gain_examples: how many of these are for the condition gain, which costs one NLL for each distinct condition;
            0 omits it.
        gain_conditions: most conditions that the gain compares with; where the data have more, as many are drawn and
            each example's own is one more, which bounds it by log (gain_conditions + 1). None is 32.
        control_samples: generated samples that the judge evaluates; 0 omits its figures.
        guidance: guidance weight of generated samples, as in `Generation.sample`; above 1 exaggerates the condition.
        seed: seed of all noise in evaluation.
        judge_steps: optimiser steps of the judge's training; None takes the modality's own number, fewer are for a
            trial whose control figures mean nothing.
        decodes: most samples of z (examples x samples) that are decoded at once, which bounds memory and changes no
            likelihood; None is 1000. Below it, figures of generated samples are those of other draws.
        nll_method: how NLL and condition gain are estimated: "is", importance sampling (None as well), or "ais",
            annealed importance sampling, where single importance samples would decide.
        proposal: what the samples of "is" are drawn from; None is the encoder's q(z | x, c).
        annealing: the path of annealed importance sampling; None takes its defaults.
        gap_examples: examples like as many of these, but simulated by the model, on which the NLL is bounded from both
            sides by the same method; None and 0 omit it.
    """

    num_samples: int = 1000
    prior_samples: int = 0
    nll_examples: int | None = None
    gain_samples: int = 50
    gain_examples: int = 100
    control_samples: int = 1000
    guidance: float = 1.0
    seed: int = 0
    judge_steps: int | None = None
    decodes: int | None = None
    nll_method: Literal["is", "ais"] | None = None
    proposal: Proposal | None = None
    annealing: Annealing | None = None
    gap_examples: int | None = None
    gain_conditions: int | None = None

    def __post_init__(self) -> None:
        if self.nll_method != "ais" and self.annealing is not None:
            raise ValueError("evaluation.annealing is of evaluation.nll_method ais: set it as well")
        if self.nll_method == "ais" and self.proposal is not None:
            raise ValueError("evaluation.proposal is of importance sampling: leave it out with nll_method ais")
        if self.gain_conditions is not None and self.gain_conditions < 1:
            raise ValueError(f"evaluation.gain_conditions must be at least 1; got {self.gain_conditions}")
        if self.decodes is not None and self.decodes < 1:
            raise ValueError(f"evaluation.decodes must be at least 1; got {self.decodes}")

    @property
    def most_decodes(self) -> int:
        """`decodes`, or its default."""
        return bounds.DECODES if self.decodes is None else self.decodes

    def at_once(self, most: int | None = None) -> int:
        """How many samples may be generated at once, at most `most`: guidance decodes each of them twice."""
        number = max(1, self.most_decodes // (1 if self.guidance == 1.0 else 2))
        return number if most is None else min(most, number)

    def estimate(
        self, model: LatentModel, batch: Batch, num_samples: int, near: Tensor | None = None
    ) -> bounds.Estimate:
        """log p(x | c) of a batch by `nll_method`; importance sampling takes `num_samples`.

        A q that is refined for each example is searched near z [B, D] as well.
        """
        if self.nll_method == "ais":
            path = self.annealing or Annealing()
            return annealed_log_likelihood(model, batch, path, self.seed, self.most_decodes, near)
        return bounds.log_likelihood(model, batch, num_samples, self.seed, self.most_decodes, self.proposal, near)

    def sandwich(self, model: LatentModel, batch: Batch, num_samples: int) -> bounds.Sandwich:
        """Bounds of log p(x | c) from both sides by `nll_method`, of examples that the model simulates."""
        if self.nll_method == "ais":
            return sandwiched_log_likelihood(model, batch, self.annealing or Annealing(), self.seed, self.most_decodes)
        return bounds.sandwiched(model, batch, num_samples, self.seed, self.most_decodes, self.proposal)

    def estimator(self, num_samples: int) -> str:
        """What `estimate` does, for a table."""
        if self.nll_method == "ais":
            return str(self.annealing or Annealing())
        return f"importance sampling, {num_samples} samples" + ("" if self.proposal is None else f" of {self.proposal}")

    def columns(
        self,
        model: LatentModel,
        batch: Batch,
        samples: PosteriorSamples,
        candidates: Candidates | None,
        total: int | None = None,
    ) -> Columns:
        """The figures of each test example, [B]; NaN where an example is beyond the configured number.

        Args:
            model: the model, in evaluation mode.
            batch: B examples.
            samples: one posterior sample for each example.
            candidates: conditions that the condition gain compares with; None omits the gain.
            total: number of all test examples, some of which are chosen at random; None, where nobody knows it, takes
                the first ones.
        """
        columns = columns_of(samples)
        columns["random_latent_cost"] = bounds.random_latent_cost(model, batch, samples, self.seed, self.most_decodes)

        def nll(part: Batch) -> tuple[Tensor, ...]:
            found = self.estimate(model, part, self.num_samples)
            return -found.log_likelihood, found.effective_sample_size

        columns["nll"], columns["effective_sample_size"] = _of_some(total, self.nll_examples, batch, nll, 2)
        if self.prior_samples:

            def prior_nll(part: Batch) -> tuple[Tensor, ...]:
                found = bounds.prior_log_likelihood(model, part, self.prior_samples, self.seed, self.most_decodes)
                return (-found,)

            (columns["nll_from_prior"],) = _of_some(total, self.nll_examples, batch, prior_nll, 1)
        if candidates is not None:
            compared = candidates

            def estimate(part: Batch, near: Tensor | None) -> bounds.Estimate:
                return self.estimate(model, part, self.gain_samples, near)

            def gain(part: Batch) -> tuple[Tensor, ...]:
                return (bounds.gain_of(estimate, part, compared),)

            (columns["condition_gain"],) = _of_some(total, self.gain_examples, batch, gain, 1)
        if self.gap_examples:

            def gap(part: Batch) -> tuple[Tensor, ...]:
                both = self.sandwich(model, part, self.num_samples)
                return (both.upper - both.lower,)

            (columns["nll_gap"],) = _of_some(total, self.gap_examples, batch, gap, 1)
        return columns

    def measure(
        self,
        table: Columns,
        candidates: Candidates | None,
    ) -> dict[str, Measurement]:
        """The likelihood figures of a test from its gathered table, by name (`test/...`): the same in every process.

        Args:
            table: the columns of all test examples.
            candidates: conditions that the condition gain was computed with.
        """
        drawn = None if candidates is None else candidates.drawn
        nll = self.estimator(self.num_samples)
        estimators_of = {
            "elbo": "one posterior draw",
            "reconstruction": "one posterior draw",
            "kl": "closed form" if "kl_per_unit" in table else "one posterior draw",
            "nll": nll,
            "nll_gap": f"upper minus lower bound on simulated examples, {nll}",
            "nll_from_prior": f"Monte Carlo from the prior, {self.prior_samples} samples",
            "random_latent_cost": "one posterior and one prior draw",
            "condition_gain": f"{self.estimator(self.gain_samples)}, "
            + ("all conditions" if drawn is None else f"own and {drawn} drawn conditions"),
            "effective_sample_size": nll,
        }
        figures = {}
        for name, estimator in estimators_of.items():
            known = ~table[name].isnan() if name in table else torch.empty(0, dtype=torch.bool)
            if known.any():
                unit = "samples" if name == "effective_sample_size" else "nats"
                groups = table[GROUP][known] if GROUP in table else None
                figures[f"test/{name}"] = Measurement.mean(table[name][known], unit, estimator, groups)
        effective = figures.get("test/effective_sample_size")
        if effective is not None and self.nll_method != "ais" and effective.value < LEAST_EFFECTIVE < self.num_samples:
            rank_zero_warn(self._advice(effective.value), category=UserWarning)
        return figures

    def _advice(self, effective: float) -> str:
        """What is wrong with an NLL of so few effective samples, and what to do."""
        refined = (
            f" or draw samples from a q that is refined for each example, model.evaluation.proposal.refine {REFINE}, "
            f"{Proposal(REFINE).decodes:,} z with gradients;"
            if self.proposal is None
            else ""
        )
        return (
            f"few importance samples decide the NLL (mean effective sample size {effective:.1f} of "
            f"{self.num_samples}): it is a loose bound, and the condition gain, a difference of such bounds, means "
            "little. Estimate them by annealed importance sampling, model.evaluation.nll_method ais, which decodes "
            f"{Annealing().decodes:,} z an example with their gradients in place of {self.num_samples:,};{refined} or "
            "raise num_samples and gain_samples"
        )

    def control(
        self,
        model: Generation,
        table: Columns,
        data: ConditionalDataModule,
        judge: Judge | None,
        second: Reader | None = None,
    ) -> dict[str, Measurement]:
        """The judge's figures of samples; where combinations of conditions were held out, also control of those alone.

        Args:
            model: the tested model.
            table: the columns of all test examples.
            data: their DataModule.
            judge: predicts the conditions of generated samples; None, or no samples to control, omits its figures.
            second: another judge of the same samples; None omits its figures.
        """
        figures: dict[str, Measurement] = {}
        unseen = data.unseen("test")
        if judge is not None and self.control_samples > 0:
            arguments = self.control_samples, self.seed, self.guidance, self.at_once(100)
            conditions = data.conditions("test")
            figures = control_figures(model, judge, conditions, *arguments, second)
            if unseen is not None and unseen.any():
                apart = control_figures(
                    model, judge, {name: field[unseen] for name, field in conditions.items()}, *arguments, second
                )
                # The judge's accuracy and the Frechet distance are those of all real test data in both calls.
                of_samples = ("test/control_", f"test/{SECOND}control_", "test/judges_agree/")
                control = {name: figure for name, figure in apart.items() if name.startswith(of_samples)}
                figures |= {f"test/unseen/{name.removeprefix('test/')}": figure for name, figure in control.items()}
        if unseen is not None and "nll" in table:
            nll = table["nll"][unseen[table["index"]] & ~table["nll"].isnan()]
            if len(nll):
                estimator = f"{self.estimator(self.num_samples)}; combinations that training never saw"
                figures["test/unseen/nll"] = Measurement.mean(nll, "nats", estimator)
        return figures

    def latent(self, table: Columns) -> dict[str, Measurement]:
        """How much of z is in use, and what it knows of x; nothing for a single example, which has no variance."""
        if len(table["mean"]) < 2:
            return {}
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

    def leakage(self, attributes: dict[str, Attribute], table: Columns) -> dict[str, Measurement]:
        """Leakage of each categorical field of the data, and their mean.

        Args:
            attributes: fields of the data.
            table: the columns of all test examples.
        """
        # Samples, not means: the mean of a unit that the decoder ignores can reveal a condition that z does not.
        noise = example_noise(self.seed, table["index"], (1, table["mean"].shape[1]))[0]
        z = table["mean"] + table["std"] * noise
        figures = {}
        for name, field in conditions_of(table).items():
            if not isinstance(attributes.get(name), Categorical):
                continue
            groups = table.get(GROUP)
            apart = groups if probes.divides(groups, field) else None
            try:
                value, stderr, count = probes.latent_leakage(z, field, self.seed, apart)
            except ValueError:  # fewer than two classes have enough examples
                continue
            whole = "" if apart is None else ", folds of whole groups"
            text = f"5-fold linear probe on posterior draws{whole}, accuracy above the majority rate"
            figures[f"test/leakage/{name}"] = Measurement(value, stderr, count, "accuracy", text)
        if figures:
            values = torch.tensor([figure.value for figure in figures.values()])
            first = next(iter(figures.values()))
            mean = Measurement(values.mean().item(), None, first.n, first.unit, f"{first.estimator}, mean over fields")
            figures["test/leakage"] = mean if len(figures) > 1 else first
        return figures


def candidates_of(
    model: LatentModel, data: ConditionalDataModule, split: Split, limit: int | None = None
) -> Candidates | None:
    """Conditions of the training split that the gain of a split's conditions is compared with; None without any."""
    train, tested = data.conditions("train"), data.conditions(split)
    names = [name for name in model.condition.attributes if name in train]
    known, asked = ({name: fields[name] for name in names} for fields in (train, tested))
    return bounds.condition_candidates(known, asked, limit or CONDITIONS) if names else None


def _of_some(
    total: int | None, limit: int | None, batch: Batch, figures: Callable[[Batch], tuple[Tensor, ...]], count: int
) -> tuple[Tensor, ...]:
    """Figures [B] of the examples that are among `limit` of `total`; NaN for the others."""
    if limit is None or total is None:
        chosen = batch.positions < (torch.inf if limit is None else limit)
    else:
        chosen = torch.isin(batch.positions, some_rows(total, limit).to(batch.positions.device))
    columns = tuple(torch.full(chosen.shape, float("nan"), device=batch.x.device) for _ in range(count))
    if chosen.any():
        for column, values in zip(columns, figures(batch[chosen]), strict=True):
            column[chosen] = values.float()
    return columns
