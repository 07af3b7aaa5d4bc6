"""ConditionalELBO: the LightningModule that every CVAE of the suite derives from.

Shapes: B batch, K posterior draws, D latent, C condition; `z_KBD` is a tensor [K, B, D].
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.distributions import Distribution, Independent

from common.batch import Batch
from common.conditions.attributes import OBSERVED, SOURCE
from common.conditions.encoders import ConditionEncoder
from common.configurable import Configurable
from common.distributions.guidance import extrapolate
from common.distributions.likelihoods import Likelihood, log_prob
from common.distributions.noise import example_noise, reparameterize
from common.distributions.priors import Prior, StandardNormal
from common.eval_mode import in_evaluation
from common.evaluation import bounds, information
from common.evaluation.columns import CONDITION, ExampleTable, columns_of
from common.evaluation.evaluation import Candidates, Evaluation, test_columns, training_candidates
from common.evaluation.media import Media
from common.objectives.invariance import Removal
from common.objectives.objectives import ELBO, Draws, ElboTerms, Objective
from common.results import Measurement
from common.training.checkpoint import description, rebuild
from common.training.optimizers import Factories

# Arguments that do not shape the network: a checkpoint leaves them to whoever trains on.
TRAINING_ARGUMENTS = ("optimizer", "scheduler", "compile")


class ConditionalELBO(Configurable, LightningModule):
    """A conditional VAE: q(z | x, c), p(z | c), p(x | z, c) and their evidence lower bound.

    A subclass supplies `encode` and `decode`, and may replace `prior`, `media` and `write`. Everything here is in nats
    per example: summed over dimensions, averaged over the batch.

    Args:
        condition: condition encoder, a module with `dim` that maps raw fields to c [B, C].
        prior: p(z | c); N(0, I) where none is given.
        objective: what training minimises. The ELBO is reported in any case.
        optimizer: makes the optimiser from the parameters.
        scheduler: makes a learning-rate scheduler from the optimiser. Those that count `total_steps` step with every
            batch and take a total of 0 from the trainer; others step with every epoch.
        compile: compiles the networks in place with torch.compile.
        latent_dim: D. Needed by priors with parameters; otherwise read off the first posterior.
        shape: shape of one example, where it is fixed. Needed by VampPrior.
        evaluation: sample counts and seed of validation and test.
        removal: takes the condition out of z by a further term of the training loss.
    """

    hidden_value: float = 0.0  # what `encode` sees in place of an unobserved value

    def __init__(
        self,
        condition: ConditionEncoder,
        prior: Prior | None = None,
        objective: Objective = ELBO(),  # noqa: B008 (frozen)
        optimizer: OptimizerCallable = torch.optim.Adam,
        scheduler: LRSchedulerCallable | None = None,
        compile: bool = False,
        latent_dim: int | None = None,
        shape: tuple[int, ...] | None = None,
        evaluation: Evaluation = Evaluation(),  # noqa: B008 (frozen)
        removal: Removal | None = None,
    ) -> None:
        super().__init__()
        for name in TRAINING_ARGUMENTS:
            self.__dict__["_init_args"].pop(name, None)
        self.condition = condition
        self.latent_prior = prior or StandardNormal()
        self.objective = objective
        self.factories = Factories(optimizer, scheduler)
        self.compile_networks = compile
        self.shape = shape
        self.evaluation = evaluation
        self.removal = removal
        self.table = ExampleTable()
        self.results: dict[str, Measurement] = {}
        self.examples: dict[str, Tensor] = {}
        self.candidates: Candidates | None = None
        if latent_dim is not None:
            self.build_prior(latent_dim)

    # What a subclass supplies.

    def encode(self, x: Tensor, c: Tensor) -> Independent:
        """q(z | x, c): a diagonal Gaussian with batch shape [B] and event shape [D]."""
        raise NotImplementedError(f"{type(self).__name__} must define encode(x, c)")

    def decode(self, z: Tensor, c: Tensor) -> Distribution:
        """p(x | z, c) for z [..., B, D] and c [B, C]: batch shape [..., B]."""
        raise NotImplementedError(f"{type(self).__name__} must define decode(z, c)")

    def prior(self, c: Tensor) -> Distribution:
        """p(z | c) with batch shape [B] and event shape [D]: the injected prior."""
        return self.latent_prior(c)

    @property
    def without_latent(self) -> bool:
        """Whether the decoder works without z, for good or in a warm start: its silence is then no collapse."""
        return False

    def media(self, batch: Batch) -> Media:
        """What a person looks at, made from a validation batch."""
        return Media()

    def write(self, samples: Tensor, path: Path) -> None:
        """Writes samples as the file a person wants."""
        raise NotImplementedError(f"{type(self).__name__} does not define write(samples, path)")

    def read(self, path: Path) -> Tensor:
        """Reads one example [1, ...] from a person's file."""
        raise NotImplementedError(f"{type(self).__name__} does not define read(path)")

    def realise(self, likelihood: Distribution, draw: bool) -> Tensor:
        """X from p(x | z, c): a draw, or what stands for the whole of it, the mean."""
        return likelihood.sample() if draw else likelihood.mean

    def auxiliary(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Further terms of the training loss by name, each a number in nats per example."""
        return {}

    def figures(self, table: dict[str, Tensor]) -> dict[str, Measurement]:
        """Figures that only this modality has, by name (`test/...`), from the test's table; alike in all processes."""
        return {}

    # The ELBO.

    def draws(self, batch: Batch, num_samples: int = 1, seed: int | None = None) -> Draws:
        """K posterior draws with their log-likelihoods.

        Args:
            batch: B examples.
            num_samples: K.
            seed: fixes the noise of each example by its index; None draws from torch's generator.
        """
        c = self.embed(batch)
        evidence = self.evidence(batch)
        posterior = self.encode(evidence.shown(self.hidden_value).x, c if evidence is batch else self.embed(evidence))
        if self.latent_prior.latent_dim is None:
            if not isinstance(self.latent_prior, StandardNormal):
                raise RuntimeError(f"{type(self.latent_prior).__name__} has parameters: pass latent_dim to the model")
            self.build_prior(posterior.event_shape[-1])
        with torch.autocast(batch.x.device.type, enabled=False):
            z_KBD = self._sample_posterior(posterior, batch, num_samples, seed)
        likelihood = self.decode(z_KBD, c)
        prior = self.prior(c)
        with torch.autocast(batch.x.device.type, enabled=False):  # sums of log-probabilities in float32
            log_likelihood = log_prob(likelihood, batch.x, batch.mask)
        return Draws(z_KBD, log_likelihood, posterior, prior, self._dataset_size())

    def _sample_posterior(self, posterior: Independent, batch: Batch, num_samples: int, seed: int | None) -> Tensor:
        if seed is None:
            return posterior.rsample((num_samples,))
        return reparameterize(posterior, example_noise(seed, batch.positions, (num_samples, posterior.event_shape[-1])))

    def evidence(self, batch: Batch) -> Batch:
        """What z is read from: the batch; in training, another version of x where the batch holds one as `source`.

        z then learns what versions share. Read from anything, it gives a lower bound of log p(x | c).
        """
        if not self.training or SOURCE not in batch.condition or self.condition.reads_source:
            return batch
        prefix = f"{SOURCE}_"
        fields = {k.removeprefix(prefix): v for k, v in batch.condition.items() if k.startswith(prefix)}
        return batch.replace(x=batch.condition[SOURCE], condition=fields)

    def elbo(self, batch: Batch) -> ElboTerms:
        """Reconstruction, KL and ELBO of each example, [B], from one draw of z."""
        return self.draws(batch).terms()

    def log_likelihood(self, batch: Batch, num_samples: int, seed: int = 0) -> Tensor:
        """Importance-sampled log p(x | c) in nats, [B]. See `common.evaluation.bounds.log_likelihood`."""
        with in_evaluation(self):
            return bounds.log_likelihood(self, batch, num_samples, seed).log_likelihood

    # Verbs.

    def sample(
        self,
        condition: Mapping[str, Any],
        num_samples: int = 1,
        temperature: float = 1.0,
        guidance: float = 1.0,
        draw: bool = False,
    ) -> Tensor:
        """X from p(z | c) and p(x | z, c), [num_samples, B, ...].

        Args:
            condition: raw fields, each a number or [B]. Fields left out take the null embedding.
            num_samples: samples for each of the B conditions.
            temperature: scale of z around the prior's mean; below 1 gives more typical samples.
            guidance: weight of p(x | z, c) against p(x | z, null), see `guidance.extrapolate`; 1 is none.
            draw: draws x from p(x | z, c) instead of taking its mean.
        """
        with in_evaluation(self):
            fields = self._fields(condition)
            c = self.condition(fields)
            c = c.expand(max([len(c), *map(len, fields.values())]), -1)  # an unconditional model ignores the fields
            prior = self.prior(c)
            z = prior.sample((num_samples,))
            if temperature != 1.0:
                z = prior.mean + temperature * (z - prior.mean)
            return self._observe(z, c, guidance, draw)

    def reconstruct(self, batch: Batch, guidance: float = 1.0, draw: bool = False) -> Tensor:
        """X decoded from the posterior mean of x, [B, ...]."""
        return self.transfer(batch, {}, guidance, draw)

    def transfer(self, batch: Batch, condition: Mapping[str, Any], guidance: float = 1.0, draw: bool = False) -> Tensor:
        """X decoded from its own posterior mean under another condition, [B, ...].

        Args:
            batch: B examples with their own conditions.
            condition: the fields that change, each a number or [B]; the others stay.
            guidance: as in `sample`.
            draw: as in `sample`.
        """
        with in_evaluation(self):
            own = self.embed(batch)
            z = self.encode(batch.shown(self.hidden_value).x, own).base_dist.loc
            fields = self._fields(condition).items()
            changed = {name: field.expand(len(batch), *field.shape[1:]) for name, field in fields}
            c = self.embed(batch.replace(condition={**batch.condition, **changed}))
            return self._observe(self.carry(z, own, c, list(changed)), c, guidance, draw)

    def carry(self, z: Tensor, own: Tensor, other: Tensor, changed: list[str]) -> Tensor:
        """Z [B, D] read under its own condition [B, C] as it is decoded under another one: as it is.

        Args:
            z: posterior means.
            own: embedding of the condition that z was read under.
            other: embedding of the condition that it is decoded under.
            changed: the fields in which they differ.
        """
        return z

    def interpolate(self, first: Batch, second: Batch, steps: int = 8) -> Tensor:
        """From one batch to another through z and c, both ends included, [steps, B, ...]."""
        with in_evaluation(self):
            ends = []
            for batch in (first, second):
                c = self.embed(batch)
                ends.append((self.encode(batch.shown(self.hidden_value).x, c).base_dist.loc, c))
            (z_first, c_first), (z_second, c_second) = ends
            path = []
            for share in torch.linspace(0, 1, steps).tolist():
                z, c = torch.lerp(z_first, z_second, share), self.between(c_first, c_second, share)
                path.append(self._observe(z, c))
            return torch.stack(path)

    def between(self, first: Tensor, second: Tensor, share: float) -> Tensor:
        """The condition embedding that lies a share of the way from one [B, C] to another."""
        return torch.lerp(first, second, share)

    def impute(self, batch: Batch, num_samples: int = 1, proposals: int = 50, draw: bool = False) -> Tensor:
        """X with its unobserved values filled in, [num_samples, B, ...]; observed values stay as they are.

        Sampling importance resampling: z_k ~ q(z | x, c) given the observed values (the others are `hidden_value`),
        then resampled by p(x_observed | z_k, c) p(z_k | c) / q(z_k | x, c). Source: Mattei and Frellsen 2019, MIWAE,
        section 4 and equation 12. Where the condition is the observed part itself, z ~ p(z | observed).

        Args:
            batch: B examples with a mask.
            num_samples: imputations of each example.
            proposals: K.
            draw: fills in draws from p(x | z, c) instead of its mean.

        Raises:
            ValueError: if the batch has no mask.
        """
        if batch.mask is None:
            raise ValueError("impute needs a batch with a mask: True where x is observed")
        mask = batch.mask
        if self.condition.reads_observed:
            fields = {**batch.condition, OBSERVED: batch.shown(float("nan")).x}
            return self.sample(fields, num_samples, draw=draw)
        with in_evaluation(self):
            draws = self.draws(batch, proposals)
            chosen = torch.distributions.Categorical(logits=draws.log_weights().T).sample((num_samples,))
            z = draws.z.gather(0, chosen.unsqueeze(-1).expand(-1, -1, draws.z.shape[-1]))
            return torch.where(mask, batch.x, self._observe(z, self.embed(batch), draw=draw))

    def embed(self, batch: Batch) -> Tensor:
        """Condition embedding of each example, [B, C]."""
        return self.condition(batch.condition).expand(len(batch), -1)

    def _observe(self, z: Tensor, c: Tensor, guidance: float = 1.0, draw: bool = False) -> Tensor:
        likelihood = self.decode(z, c)
        if guidance != 1.0:
            likelihood = extrapolate(likelihood, self.decode(z, self.condition.null(c)), guidance)
        return self.realise(likelihood, draw)

    def _fields(self, condition: Mapping[str, Any]) -> dict[str, Tensor]:
        """Raw fields on the model's device, each [B, ...]."""
        fields = {
            name: torch.atleast_1d(torch.as_tensor(value, device=self.device)) for name, value in condition.items()
        }
        size = max(map(len, fields.values()), default=1)
        return {name: field.expand(size, *field.shape[1:]) for name, field in fields.items()}

    # Training and evaluation.

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss; logs it beside the ELBO."""
        objective = self.objective.at(self.global_step)
        draws = self.draws(batch, objective.num_samples)
        if batch_idx == 0 and self.current_epoch == 0:
            self._check_support(batch, draws)
        loss = objective(draws, self.global_step)
        for name, term in self._auxiliary(batch, draws).items():
            loss = loss + term
            self.log(f"train/{name}", term, batch_size=len(batch))
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch))
        terms = {name: column.mean() for name, column in columns_of(draws).items()}
        self.log_dict({f"train/{name}": value for name, value in terms.items()}, batch_size=len(batch))
        self.log_dict({f"train/{name}": value for name, value in objective.coefficients(self.global_step).items()})
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collects the ELBO and the posterior of each example."""
        draws = self.draws(batch, 1, self.evaluation.seed)
        self.table.add(batch, {**columns_of(draws), **_posterior_columns(draws)})

    def on_validation_epoch_end(self) -> None:
        """Logs the ELBO and the active units; `validation` keeps the table for pictures and monitors."""
        self.validation = self.table.gather()
        values = {f"val/{name}": self.validation[name].mean().item() for name in ("elbo", "reconstruction", "kl")}
        values["val/active_units"] = float(information.active_units(self.validation["mean"]))
        self.log_dict(values, sync_dist=True, prog_bar=True)

    def on_test_start(self) -> None:
        """Chooses once what the condition gain compares with."""
        self.candidates = training_candidates(self)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Collects every per-example figure of the test."""
        draws = self.draws(batch, 1, self.evaluation.seed)
        columns = {**columns_of(draws), **_posterior_columns(draws), **test_columns(self, batch, draws)}
        self.table.add(batch, columns)

    def on_test_epoch_end(self) -> None:
        """Logs the test's figures; `results` keeps them with their errors and sample counts, `examples` one by one."""
        table = self.table.gather()
        self.results = self.evaluation.measure(self, table) | self.figures(table)
        self.examples = {name: column for name, column in table.items() if column.dim() == 1 and CONDITION not in name}
        self.log_dict({name: figure.value for name, figure in self.results.items()}, sync_dist=True)

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Index, ELBO terms and raw condition of each example."""
        draws = self.draws(batch, 1, self.evaluation.seed)
        return {"index": batch.positions, **columns_of(draws), **batch.condition}

    def _auxiliary(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        terms = self.auxiliary(batch, draws)
        if self.removal is not None:
            with torch.autocast(batch.x.device.type, enabled=False):
                terms = terms | {"removal": self.removal(draws.z[0], draws.posterior, self.evidence(batch).condition)}
        return terms

    def _check_support(self, batch: Batch, draws: Draws) -> None:
        """Data outside of the likelihood's support has no density: better to stop at the first batch."""
        with torch.no_grad():
            support = self.decode(draws.z[:1].detach(), self.embed(batch)).support
        if support is not None and not support.check(batch.x).all():
            raise ValueError(
                f"the data lies outside of the likelihood's support ({support}): values from "
                f"{batch.x.min():g} to {batch.x.max():g}. Binarise it (data.binarize) or choose another likelihood"
            )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Optimiser and scheduler from the constructor's factories."""
        return self.factories.make(self.parameters(), lambda: int(self.trainer.estimated_stepping_batches))

    def setup(self, stage: str) -> None:
        """Compiles the networks in place, so that names of weights do not change."""
        if self.compile_networks:
            for child in self.children():
                if not isinstance(child, Prior | Likelihood | ConditionEncoder | Removal):
                    child.compile()
            self.compile_networks = False

    def _dataset_size(self) -> int | None:
        trainer = self._trainer
        datamodule = getattr(trainer, "datamodule", None) if trainer is not None else None
        return getattr(datamodule, "train_size", None)

    @property
    def prior_condition_dim(self) -> int:
        """Size of the condition that the injected prior sees."""
        return getattr(self.condition, "dim", 0)

    def build_prior(self, latent_dim: int) -> None:
        """Gives the injected prior its parameters: called once, as soon as the size of z is known."""
        self.latent_prior.build(latent_dim, self.prior_condition_dim, self.encode, self.shape)
        if self.removal is not None:
            self.removal.build(latent_dim, getattr(self.condition, "attributes", {}))

    # Checkpoints.

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Stores how to build this model, as plain data."""
        checkpoint |= description(self)

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls, checkpoint_path: str | Path, map_location: Any = "cpu", **arguments: Any
    ) -> Self:
        """The model of a checkpoint, of the class it was saved from, with nothing else at hand.

        Args:
            checkpoint_path: a file that training wrote.
            map_location: device, as in `torch.load`.
            arguments: replace the stored arguments of the constructor.

        Raises:
            ValueError: if the file is no checkpoint of the suite, or lacks what rebuilds the model.
        """
        return rebuild(cls, Path(checkpoint_path), map_location, arguments)


def _posterior_columns(draws: Draws) -> dict[str, Tensor]:
    base = draws.posterior.base_dist
    return {"mean": base.loc, "std": base.scale}
