"""Objects that store their constructor arguments, so that a checkpoint alone can rebuild them."""

import importlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

OWN = ("common", "modalities")  # packages whose classes a checkpoint may name
# What else a configuration may name: optimisers, schedules, callbacks, loggers, strategies and plugins are theirs.
BUILT_OF = ("torch", "lightning", "transformers")
ACTING = ("antigravity", "this")  # modules of Python that act when they are imported
CLASS_PATH = re.compile(r"\b[^\W\d]\w*(?:\.[^\W\d]\w*)+(?=[\s\"',}\]]|$)")  # in a file that may be a configuration
LARGEST = 2**20  # bytes of a file that may be one


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
        # torch gives a module whose states are divided among processes a class of its own.
        cls = next(kind for kind in type(value).__mro__ if not kind.__module__.startswith("torch."))
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


def _named_by_person() -> list[str]:
    return os.environ.get("SUITE_ALLOW", "").replace(",", " ").split()


def _may_be_imported(module: str) -> bool:
    return module in sys.modules or module.partition(".")[0] in {*OWN, *_named_by_person()}


@contextmanager
def guarded_names() -> Iterator[None]:
    """While this lasts, jsonargparse refuses a name in a configuration or an option before it imports it.

    Allowed are the suite, what it is built of, packages that $SUITE_ALLOW names, and those that are loaded already, but
    none of Python's own modules, whose functions act. The refusal is where jsonargparse imports, so that it matters
    neither which file or option has the name nor how it is written. Options without a type build nothing of a name.
    A configuration or a part of one is a file of this machine: addresses, which Lightning turns on, are not asked for.
    """
    from jsonargparse import set_parsing_settings  # only where a configuration is read
    from jsonargparse._common import parsing_settings
    from jsonargparse._optionals import _get_config_read_mode

    loaded = {name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names - {"jsonargparse"}
    allowed = {name for name in {*OWN, *BUILT_OF, *_named_by_person(), *loaded} if name.isidentifier()}
    before, modes = dict(parsing_settings), _get_config_read_mode()
    try:
        set_parsing_settings(
            import_path_denylist=["*"],
            import_path_allowlist=sorted(allowed),
            instantiate_subclass_spec_in_any=False,
            config_read_mode_urls_enabled=False,
            config_read_mode_fsspec_enabled=False,
        )
        yield
    finally:
        parsing_settings.update(before)
        set_parsing_settings(config_read_mode_urls_enabled="u" in modes, config_read_mode_fsspec_enabled="s" in modes)


def check_classes(config: Any, place: str = "") -> None:
    """Refuses a parsed configuration that gives arguments to a function, which would be called with them.

    Args:
        config: the configuration, or a part of it.
        place: where the part stands.

    Raises:
        ValueError: naming the place and the function.
    """
    parts = config.items() if isinstance(config, Mapping) else enumerate(config) if isinstance(config, list) else ()
    for name, value in parts:
        here = f"{place}.{name}" if place else str(name)
        if name == "class_path" and (found := _loaded_object(value)) is not None and not isinstance(found, type):
            raise ValueError(f"{place}: {value} is no class: a configuration calls no functions")
        check_classes(value, here)


def _loaded_object(path: Any) -> Any:
    """What a path of a parsed configuration names; None if its module is not loaded, so that nothing is built of it."""
    parts = str(path).split(".")
    for number in range(len(parts) - 1, 0, -1):
        found: Any = sys.modules.get(".".join(parts[:number]))
        if found is not None:
            for name in parts[number:]:
                found = getattr(found, name, None)
            return found
    return None


def check_trusted(stored: Any) -> None:
    """Refuses a stored configuration that would import what is not `trusted`.

    A class may be named without the word `class_path`, and a file may stand for a part of a configuration: jsonargparse
    takes a text of either kind wherever a class is expected.

    Raises:
        ImportError: naming the class.
    """
    if isinstance(stored, Mapping):
        for name, value in stored.items():
            if name == "class_path" and "." in str(value) and not _may_be_imported(str(value).rpartition(".")[0]):
                trusted(str(value))
            check_trusted(value)
    elif isinstance(stored, list | tuple):
        for value in stored:
            check_trusted(value)
    elif isinstance(stored, str):
        if _names_a_module(stored) and not _may_be_imported(stored.rpartition(".")[0]):
            trusted(stored)
        for path in CLASS_PATH.findall(small_file(stored)):
            if _names_a_module(path) and not _may_be_imported(path.rpartition(".")[0]):
                trusted(path)


def _names_a_module(text: str) -> bool:
    """Whether a text such as `package.module.Class` would import something that exists and does more than define.

    Names of files look alike (table.csv): they pass unless there is such a module. No code is run to find out.
    """
    parts = text.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        return False
    if parts[0] in sys.stdlib_module_names | {"test"} and parts[0] not in ACTING and len(parts) == 2:
        return False  # code.txt, test.csv: the import of these modules alone does no harm
    places: Any = None
    for number in range(1, len(parts)):
        try:
            spec = PathFinder.find_spec(".".join(parts[:number]), places)
        except (ImportError, ValueError):
            return True
        if spec is None:
            # Other finders know what is installed in place; of those, only whole packages can be asked.
            return number == 1 and _is_installed(parts[0])
        if spec.origin is not None:
            return True
        places = spec.submodule_search_locations  # a folder without code of its own
    return False


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return True


def small_file(text: str) -> str:
    """The content of a file of the size of a configuration, if the text is the path of one."""
    try:
        path = Path(text)
        return path.read_text(errors="replace") if path.is_file() and path.stat().st_size < LARGEST else ""
    except (OSError, ValueError):
        return ""


def import_class(path: str) -> type[Configurable]:
    """The `Configurable` class named `package.module.Class`, as in `trusted`.

    Raises:
        ImportError: as in `trusted`.
        TypeError: if it is not a `Configurable` class.
    """
    cls = trusted(path)
    if not issubclass(cls, Configurable):
        raise TypeError(f"{path} is not a Configurable class: refused to build it from a checkpoint")
    return cls


def trusted(path: str) -> type:
    """The class named `package.module.Class` in a checkpoint.

    Importing a module runs its code, so that a file of a stranger must not choose it: only modules of the suite, those
    that this process has imported already, and packages that $SUITE_ALLOW names are imported.

    Raises:
        ImportError: if there is no such class, or its module is none of these.
        TypeError: if it is no class.
    """
    module, _, name = path.rpartition(".")
    if module and not _may_be_imported(module):
        raise ImportError(
            f"{path} is not part of the suite: to import it would run code that the checkpoint names. If you trust it, "
            f"set SUITE_ALLOW={module.partition('.')[0]}"
        )
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ImportError(f"cannot import {path}, which the checkpoint was made with: {error}") from error
    if not isinstance(cls, type):
        raise TypeError(f"{path} is no class: refused to build it from a checkpoint")
    return cls
