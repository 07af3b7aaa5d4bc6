"""Modules that are imported when they are first used, so that a command line starts without them."""

import importlib
from typing import Any


class LazyModule:
    """A placeholder that imports a module when one of its attributes is first used.

    Args:
        name: name of the module.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)
