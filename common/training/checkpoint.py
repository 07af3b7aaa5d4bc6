"""Checkpoints that rebuild their model: what is stored beside the weights, and the way back."""

from pathlib import Path
from typing import Any

import torch

from common.configurable import from_config, import_class, to_config


def description(model: Any) -> dict[str, Any]:
    """How to build a model, as plain data to be stored in its checkpoint.

    A part of the user's own that is no `Configurable` cannot be stored: then the reason is, and `rebuild` asks for the
    model's arguments.
    """
    sizes = {"latent_dim": model.latent_prior.latent_dim}
    try:
        return {**sizes, "model": to_config(model)}
    except TypeError as error:
        return {**sizes, "model_problem": str(error)}


def rebuild(cls: type, path: Path, map_location: Any, arguments: dict[str, Any]) -> Any:
    """The model of a checkpoint, in evaluation mode.

    Args:
        cls: the class that was asked; the stored class is built where it is another one.
        path: the checkpoint.
        map_location: as in `torch.load`.
        arguments: replace stored arguments of the constructor.

    Raises:
        ValueError: if the file is no checkpoint of the suite, or does not say how its model is built.
    """
    checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    if "latent_dim" not in checkpoint:
        raise ValueError(f"{path} is not a checkpoint of the suite")
    stored = checkpoint.get("model")
    if stored is None and not arguments:
        raise ValueError(
            f"{path} cannot rebuild its model ({checkpoint['model_problem']}); call load_from_checkpoint on the model's"
            " own class, with the arguments of its constructor"
        )
    given = {} if stored is None else {name: from_config(value) for name, value in stored["init_args"].items()}
    # The class that was asked may be one that cannot be imported: from a notebook, or from inside of a function.
    same = stored is None or stored["class_path"].rpartition(".")[2] == cls.__name__
    model: Any = (cls if same else import_class(stored["class_path"]))(**(given | arguments))
    if model.latent_prior.latent_dim is None and checkpoint["latent_dim"] is not None:
        model.build_prior(checkpoint["latent_dim"])
    model.load_state_dict(checkpoint["state_dict"])
    return model.to(map_location).eval()
