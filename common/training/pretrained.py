"""A model as a folder to share: config.json and model.safetensors, which no program has to trust.

The folder holds what a checkpoint knows of a model and its data, without the state of the training.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from common.training.checkpoint_file import CONFIG, WEIGHTS

KEY = "cvae_suite"  # of config.json, whose other keys belong to others
KEPT = ("suite_format", "latent_dim", "model", "data", "files", "report", "configuration", "parent")


def write_pretrained(folder: Path, checkpoint: Mapping[str, Any]) -> None:
    """Writes the folder.

    Args:
        folder: an existing folder.
        checkpoint: `state_dict`, and what `KEPT` names.

    Raises:
        ValueError: if a part of the model cannot be stored, or a state is no tensor.
    """
    from safetensors.torch import save_file

    if checkpoint.get("model") is None:
        raise ValueError(f"this model cannot be shared: {checkpoint.get('model_problem', 'it has no configuration')}")
    stored = {name: checkpoint[name] for name in KEPT if name in checkpoint}
    _check_plain(stored, KEY)
    states = checkpoint["state_dict"]
    wrong = [name for name, state in states.items() if not isinstance(state, torch.Tensor)]
    if wrong:
        raise ValueError(f"this model cannot be shared: {', '.join(wrong[:3])} of its states is no tensor")
    # Tied weights are stored for each of their names, as safetensors has no memory of its own for two of them.
    save_file({name: state.detach().cpu().clone(memory_format=torch.contiguous_format) for name, state in
               states.items()}, folder / WEIGHTS, metadata={"format": "pt"})  # fmt: skip
    (folder / CONFIG).write_text(json.dumps({KEY: stored}, indent=2) + "\n")


def _check_plain(value: Any, place: str) -> None:
    """Refuses what JSON would change."""
    if isinstance(value, dict):
        for name, entry in value.items():
            if not isinstance(name, str):
                raise ValueError(f"{place} has the key {name!r}, which is no text")
            _check_plain(entry, f"{place}.{name}")
    elif isinstance(value, list):
        for number, entry in enumerate(value):
            _check_plain(entry, f"{place}[{number}]")
    elif value is not None and not isinstance(value, bool | int | float | str):
        raise ValueError(f"{place} is a {type(value).__name__}, which config.json cannot hold")


def read_pretrained(folder: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """The contents of the folder, as those of a checkpoint.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if one is damaged or none of the suite's.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} has no {name}: it is no folder that save_pretrained has written")
    try:
        config = json.loads((folder / CONFIG).read_text())
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{folder / CONFIG} is damaged: {error}") from error
    stored = config.get(KEY) if isinstance(config, dict) else None
    if not isinstance(stored, dict):
        raise ValueError(f"{folder / CONFIG} is not of the suite: it has no {KEY!r}")
    try:
        states = load_file(folder / WEIGHTS, device=str(map_location or "cpu"))
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{folder / WEIGHTS} is damaged: {error}") from error
    return {**{name: stored[name] for name in KEPT if name in stored}, "state_dict": states}
