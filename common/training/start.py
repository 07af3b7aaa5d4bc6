"""What a command starts from: nothing, its own run's checkpoint, or the weights of another run."""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lightning_utilities.core.rank_zero import rank_zero_info

from common.configurable import import_class
from common.data.terms import Terms
from common.results import TESTS, Results
from common.training.checkpoint import description, read_checkpoint, terms_of
from common.training.module import ConditionalELBO
from common.training.run_folder import RunConfig, checkpoint_by_name, new_folder, own_folder, restarts, unfinished

# Options that a resumed training may change: length, batch size, devices, loggers, memory, how much is evaluated.
FREE = {
    "data": ("batch_size", "batch_tokens", "root", "download"),  # where data lie; their fingerprint is compared
    "model": ("evaluation", "compile", "checkpointing"),
}
FIXED_OF_TRAINER = ("precision", "gradient_clip_val", "gradient_clip_algorithm", "overfit_batches", "callbacks")
COMPARED = ("seed_everything", "model", "data", "subset", "averaging", "trainer")
LENGTHS = ("EarlyStopping", "Timer")  # callbacks that decide the length of a training


@dataclass(frozen=True)
class Start:
    """What a command starts from.

    Attributes:
        subcommand: fit, validate, test or predict.
        path: the checkpoint; None starts from nothing.
        weights_alone: whether only its weights are taken, for a run of its own.
    """

    subcommand: str
    path: Path | None = None
    weights_alone: bool = False

    @staticmethod
    def of(subcommand: str, config: Mapping[str, Any], run: RunConfig, modality: str) -> "Start":
        """The start that a configuration asks for.

        Raises:
            ValueError: if it names no checkpoint where one is needed, or two.
            FileNotFoundError: if there is no such checkpoint.
        """
        named, weights = config.get("ckpt_path"), config.get("weights")
        if subcommand != "fit" and named is None:
            raise ValueError(f"{subcommand} needs a trained model: --ckpt_path RUN/checkpoints/best.ckpt, best or last")
        if named is None and subcommand == "fit" and restarts():
            named = before_requeue(config, run, modality)
        if named is None:
            return Start(subcommand, None if weights is None else Path(weights), weights is not None)
        if str(named) in ("last", "best"):
            path = checkpoint_by_name(str(named), run, modality)
            print(f"--ckpt_path {named} is {path}")
            return Start(subcommand, path)
        return Start(subcommand, Path(named))

    @cached_property
    def checkpoint(self) -> dict[str, Any]:
        """The contents of the checkpoint; empty without one."""
        return {} if self.path is None else read_checkpoint(self.path)

    def check_class(self, model_class: type) -> None:
        """Refuses the checkpoint of another kind of model.

        Raises:
            ValueError: naming both.
        """
        stored = self.checkpoint.get("model", {}).get("class_path")
        if stored is not None and not issubclass(import_class(stored), model_class):
            kind = stored.rpartition(".")[2]
            raise ValueError(f"{self.path} is a {kind}, and this script trains a {model_class.__name__}")

    @property
    def resumes(self) -> bool:
        """Whether a training goes on."""
        return self.subcommand == "fit" and self.path is not None and not self.weights_alone

    @property
    def terms(self) -> Terms | None:
        """The terms in which data are read."""
        return terms_of(self.checkpoint, extend=self.weights_alone)

    def seed(self, given: int) -> int:
        """The seed of the training whose weights are used, or of this one."""
        stored = None if self.weights_alone else self.checkpoint.get("configuration", {}).get("seed_everything")
        return given if stored is None else int(stored)

    def folder(self, run: RunConfig, modality: str, explicit: Collection[str]) -> Path:
        """The run folder to write into.

        A resumed training continues in its own; a test writes into that of its checkpoint, unless a person names
        another place; everything else gets a new one.

        Args:
            run: the configured place.
            modality: folder below the root.
            explicit: which of `root`, `name` and `id` a person gave on the command line.

        Raises:
            ValueError: if a resumed training is sent to another run's folder.
        """
        own: Path | None = None
        if self.resumes:
            assert self.path is not None
            own = own_folder(self.path, run, explicit)
        elif self.path is not None and not self.weights_alone and not explicit:
            own = own_folder(self.path, run, ())
        return own or new_folder(run, modality)

    def check(self, config: Mapping[str, Any], script: str) -> None:
        """Refuses to resume a training as another one: nothing is written before this.

        Raises:
            ValueError: naming the options that differ, and the command that starts a run of its own.
        """
        if not self.resumes:
            return
        remedy = f"For a new training from these weights: {script} fit --config ... --weights {self.path}"
        if not self.checkpoint.get("optimizer_states"):
            raise ValueError(f"{self.path} holds weights alone, with which no training can go on. {remedy}")
        stored = self.checkpoint.get("configuration", {})
        if config.get("weights") not in (None, stored.get("weights")):
            raise ValueError(
                f"--ckpt_path goes on with a training, --weights {config['weights']} begins one: give one of them"
            )
        changed = differences(stored, config) if stored else []
        if changed:
            raise ValueError(
                f"{self.path} is a checkpoint of another training: {'; '.join(changed)}. A resumed training changes "
                f"its length, batch size, devices and loggers alone. {remedy}"
            )
        trainer = config.get("trainer", {})
        loop = self.checkpoint["loops"]["fit_loop"]
        epoch = loop["epoch_progress"]["current"]
        ended = epoch["started"] > epoch["processed"] and loop["epoch_loop.batch_progress"]["is_last_batch"]
        epochs = epoch["processed"] + int(ended)
        steps = self.checkpoint.get("global_step", 0)
        for name, reached in (("max_epochs", epochs), ("max_steps", steps)):
            limit = trainer.get(name)
            if limit is not None and 0 <= limit < reached:
                raise ValueError(f"{self.path} has reached {reached} with trainer.{name} {limit}: raise it to go on")

    def check_data(self, fingerprint: str, script: str) -> None:
        """Refuses to resume a training on other data.

        Raises:
            ValueError: naming both fingerprints.
        """
        stored = self.checkpoint.get("data", {}).get("fingerprint")
        if self.resumes and stored is not None and stored != fingerprint:
            raise ValueError(
                f"{self.path} was trained on other data (fingerprint {stored}, now {fingerprint}): a resumed training "
                f"goes on with its own. For a new training from these weights: {script} fit --config ... --weights "
                f"{self.path}"
            )


def before_requeue(config: Mapping[str, Any], run: RunConfig, modality: str) -> Path | None:
    """The checkpoint of the training that this command began before SLURM put its job into the queue again, if any."""
    for path in unfinished(run, modality):
        stored = read_checkpoint(path).get("configuration", {})
        changed = differences(stored, config)
        if config.get("weights") != stored.get("weights"):
            changed.append(f"weights was {stored.get('weights')}, is {config.get('weights')}")
        if not changed:
            rank_zero_info(f"SLURM has queued this job again: {path.parents[1]} goes on")
            return path
        rank_zero_info(f"{path.parents[1]} is another training of this job: {'; '.join(changed[:3])}")
    rank_zero_info("SLURM has queued this job again, which has left no unfinished run of this command: it begins anew")
    return None


def place_of_test(folder: Path, start: Start, config_hash: str, fingerprint: str, trainer: Mapping[str, Any]) -> Path:
    """The folder that a test writes into: that of the run only where it replaces the same test, else one below it.

    Args:
        folder: the run folder.
        start: the checkpoint.
        config_hash: hash of the test's configuration.
        fingerprint: fingerprint of the tested data.
        trainer: options of the trainer.
    """
    path = folder / "results.json"
    name = "" if start.path is None else start.path.name
    this = (config_hash, fingerprint, name)
    if path.exists():
        run = Results.read(path).run
        if (run.config_hash, run.data_fingerprint, run.checkpoint) == this:
            return folder
        reason = f"{path} has the figures of another test"
    else:
        own = fingerprint == start.checkpoint.get("data", {}).get("fingerprint", fingerprint)
        limit = trainer.get("limit_test_batches")  # 1.0 is all batches, 1 is one of them
        if own and (limit is None or (isinstance(limit, float) and limit == 1.0)):
            return folder
        reason = "it tests a part of the run's data" if own else "it tests other data than the run's"
    beside = folder / TESTS / hashlib.sha256(repr(this).encode()).hexdigest()[:8]
    rank_zero_info(f"this test writes into {beside}: {reason}")
    return beside


def check_model(model: ConditionalELBO, checkpoint: Mapping[str, Any], path: Path) -> None:
    """Compares a configured model with that of a checkpoint, whose weights it will have.

    Raises:
        ValueError: naming the arguments in which they differ, but for those that no weight and no density depends on.
    """
    stored = checkpoint.get("model")
    if stored is None:
        return
    configured = description(model).get("model")
    if configured is None:
        return
    parts = [
        {name: value for name, value in part["init_args"].items() if name not in model.changeable}
        for part in (stored, configured)
    ]
    old, new = (_flat("model", part) for part in parts)
    changed = [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
    if changed:
        named = "; ".join(f"{name} is {new.get(name)}, the checkpoint's {old.get(name)}" for name in changed[:5])
        raise ValueError(
            f"the configured model is not that of {path}: {named}. Use the configuration of its run, "
            f"{path.resolve().parent.parent / 'config.yaml'}"
        )


def plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as plain data for a checkpoint; paths are texts."""
    kept = {name: config[name] for name in (*COMPARED, "weights") if name in config}
    result: dict[str, Any] = json.loads(json.dumps(kept, default=str))
    return result


def differences(stored: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """The options in which two configurations differ, but for those that a resumed training may change."""
    before, after = (_flat("", _bound(plain(part))) for part in (stored, config))
    names = sorted(before.keys() | after.keys())
    return [
        f"{name} was {before.get(name)}, is {after.get(name)}" for name in names if before.get(name) != after.get(name)
    ]


def _bound(config: dict[str, Any]) -> dict[str, Any]:
    """What a resumed training must not change."""
    trainer = config.get("trainer") or {}
    configured = trainer.get("callbacks") or []
    callbacks = [
        callback
        for callback in (configured if isinstance(configured, list) else [configured])
        if str(callback.get("class_path")).rpartition(".")[2] not in LENGTHS
    ]
    kept = {name: trainer.get(name) for name in FIXED_OF_TRAINER} | {"callbacks": callbacks}
    result = {name: config.get(name) for name in COMPARED} | {"trainer": kept}
    for part, free in FREE.items():
        section = dict(result.get(part) or {})
        if "init_args" in section:
            section["init_args"] = {k: v for k, v in section["init_args"].items() if k not in free}
        result[part] = {name: value for name, value in section.items() if name not in free}
    return result


def _flat(prefix: str, value: Any) -> dict[str, Any]:
    """Dotted names and values of nested dictionaries; what is None or empty does not count."""
    if isinstance(value, dict):
        parts = [_flat(f"{prefix}.{name}" if prefix else str(name), entry) for name, entry in value.items()]
        return {name: entry for part in parts for name, entry in part.items()}
    return {} if value in (None, []) else {prefix: value}
