"""Objects that store their constructor arguments, so that a checkpoint alone can rebuild them."""

import importlib
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class Configurable:
    """Base of everything that a checkpoint has to rebuild: models, encoders, priors, objectives, attributes.

    The arguments of the constructor are stored as they were passed. `to_config` turns them into plain data in the
    format of LightningCLI (`class_path` and `init_args`), which `torch.load(weights_only=True)` accepts.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        self = super().__new__(cls)
        # bind_partial: copy and pickle call __new__ without arguments and restore __dict__ afterwards.
        bound = inspect.signature(cls.__init__).bind_partial(self, *args, **kwargs)
        # Through __dict__, because torch modules and frozen dataclasses guard setattr.
        arguments = dict(list(bound.arguments.items())[1:])
        for parameter in bound.signature.parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                arguments |= arguments.pop(parameter.name, {})
        self.__dict__["_init_args"] = arguments
        return self


def to_config(value: Any) -> Any:
    """Plain data (None, numbers, strings, lists, dicts) from which `from_config` rebuilds `value`.

    Raises:
        TypeError: if some part is neither plain data nor `Configurable`.
    """
    if value is None or isinstance(value, bool):
        return value
    for plain in (int, float, str):  # NumPy's numbers and strings derive from these, but do not load with weights_only
        if isinstance(value, plain):
            return plain(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Sequence):
        return [to_config(item) for item in value]
    if isinstance(value, dict):
        return {key: to_config(item) for key, item in value.items()}
    if isinstance(value, Configurable):
        cls = type(value)
        arguments = {name: to_config(argument) for name, argument in value.__dict__["_init_args"].items()}
        return {"class_path": f"{cls.__module__}.{cls.__qualname__}", "init_args": arguments}
    raise TypeError(
        f"{type(value).__name__} cannot be stored in a checkpoint: derive it from common.configurable.Configurable"
    )


def from_config(config: Any) -> Any:
    """Inverse of `to_config`. Only subclasses of `Configurable` are ever called.

    Raises:
        TypeError: if a class path names anything but a `Configurable`.
        ImportError: if a class cannot be found.
    """
    if isinstance(config, list):
        return [from_config(item) for item in config]
    if not isinstance(config, dict):
        return config
    if config.keys() != {"class_path", "init_args"}:
        return {key: from_config(item) for key, item in config.items()}
    cls = import_class(config["class_path"])
    return cls(**{name: from_config(argument) for name, argument in config["init_args"].items()})


def import_class(path: str) -> type[Configurable]:
    """The `Configurable` class named `package.module.Class`."""
    module, _, name = path.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ImportError(f"cannot import {path}, which the checkpoint was made with: {error}") from error
    if not (isinstance(cls, type) and issubclass(cls, Configurable)):
        raise TypeError(f"{path} is not a Configurable class: refused to build it from a checkpoint")
    return cls
