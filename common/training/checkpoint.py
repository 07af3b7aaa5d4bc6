"""Checkpoints that rebuild their model: what is stored beside the weights, and how the model is restored."""

import pickle
from pathlib import Path
from typing import Any

from common.configurable import from_config, import_class, to_config
from common.data.datamodule import ConditionalDataModule
from common.data.terms import Terms
from common.model.generation import Generation
from common.training.checkpoint_file import is_pretrained
from common.training.checkpoint_io import read_tensors
from common.training.pretrained import read_pretrained

BESIDE = ("data", "files", "report", "configuration", "parent")  # what a checkpoint holds beside model and weights
FORMAT = 2  # version of what is stored; checkpoints of another version are refused


def description(model: Generation, data: ConditionalDataModule | None = None) -> dict[str, Any]:
    """How to build a model and what it knows of its data, as plain data to be stored in its checkpoint.

    A user's part that is not `Configurable` cannot be stored: the reason is stored instead, and `rebuild` then needs
    the model's arguments.
    """
    stored: dict[str, Any] = {"suite_format": FORMAT, "latent_dim": model.latent_prior.latent_dim}
    if data is not None:
        stored["data"] = {**data.describe(), "used": list(model.condition.attributes)}
    try:
        return {**stored, "model": to_config(model)}
    except TypeError as error:
        return {**stored, "model_problem": str(error)}


def read_checkpoint(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """The contents of a checkpoint of the suite; no code in it is run.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not a checkpoint of the suite, or has another format.
    """
    if is_pretrained(path):
        return _checked(read_pretrained(path, map_location), path)
    try:
        checkpoint = read_tensors(path, map_location)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path} is damaged, or holds more than a checkpoint of the suite ({reason})") from error
    return _checked(checkpoint, path)


def _checked(checkpoint: dict[str, Any], path: Path) -> dict[str, Any]:
    if "latent_dim" not in checkpoint:
        raise ValueError(f"{path} is not a checkpoint of the suite")
    found = checkpoint.get("suite_format")
    if found != FORMAT:
        raise ValueError(f"{path} has checkpoint format {found}, this version of the suite reads {FORMAT}: train again")
    return checkpoint


def terms_of(checkpoint: dict[str, Any], extend: bool = False) -> Terms | None:
    """The terms in which a checkpoint's model knows its data; None where no DataModule of the suite was trained on.

    Args:
        checkpoint: the contents of a checkpoint.
        extend: as in `Terms`.
    """
    if "data" not in checkpoint:
        return None
    learned = {name: from_config(value) for name, value in checkpoint["data"]["learned"].items()}
    return Terms(learned, checkpoint["data"]["used"], extend)


def rebuild(cls: type, path: Path, map_location: Any, arguments: dict[str, Any]) -> Any:
    """The model of a checkpoint, in evaluation mode.

    Args:
        cls: the requested class; where the stored class is another one, that one is built.
        path: the checkpoint, or a folder that `save_pretrained` wrote.
        map_location: as in `torch.load`.
        arguments: replace stored arguments of the constructor.

    Raises:
        ValueError: if the file is not a checkpoint of the suite, or lacks what rebuilds the model.
    """
    return model_of(read_checkpoint(path, map_location), cls, path, map_location, arguments)


def model_of(checkpoint: dict[str, Any], cls: type, path: Path, map_location: Any, arguments: dict[str, Any]) -> Any:
    """The model of a checkpoint's contents; arguments and errors as in `rebuild`."""
    stored: Any = checkpoint.get("model")
    if stored is None and not arguments:
        raise ValueError(
            f"{path} cannot rebuild its model ({checkpoint['model_problem']}); call load_from_checkpoint on the model's"
            " own class, with the arguments of its constructor"
        )
    given = {} if stored is None else {name: from_config(value) for name, value in stored["init_args"].items()}
    # The requested class may be one that cannot be imported, from a notebook or from inside a function.
    same = stored is None or stored["class_path"].rpartition(".")[2] == cls.__name__
    kind: Any = cls if same else import_class(stored["class_path"])
    if not issubclass(kind, cls):
        raise ValueError(f"{path} is a {kind.__name__}, not a {cls.__name__}")
    model: Any = kind(**(given | arguments))
    if model.latent_prior.latent_dim is None and checkpoint["latent_dim"] is not None:
        model.build_prior(checkpoint["latent_dim"])
    try:
        model.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as error:
        problem = " ".join(str(error).split("\n\t")[-1].split())
        raise ValueError(f"the weights of {path} are not those of its model: {problem}") from error
    model.stored = {name: checkpoint[name] for name in BESIDE if name in checkpoint}
    return model.to(map_location).eval()
