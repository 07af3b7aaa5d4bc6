"""Packages that are imported when they are first used: pandas, and what Lightning does not need of torchmetrics."""

import importlib
import importlib.util
import logging
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = ["defer_torchmetrics", "pd"]


class _LazyModule:
    """Stands for a module until one of its names is requested."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)


class _Deferred(ModuleType):
    """torchmetrics before its `__init__` has run, which makes it the usual module.

    Lightning needs two base classes of it. Its `__init__` imports every metric, and with them transformers, torchvision
    and SciPy's signal processing: a third of the time in which a script starts.
    """

    def __getattr__(self, name: str) -> Any:
        assert self.__spec__ is not None
        if name == "__path__":  # by which any of its modules is found
            self.__path__ = self.__spec__.submodule_search_locations or []
            importlib.import_module("torchmetrics.utilities")  # must come before `metric`: they import each other
            return self.__path__
        if name in ("Metric", "MetricCollection"):
            module = importlib.import_module(f"torchmetrics.{'metric' if name == 'Metric' else 'collections'}")
            return getattr(module, name)
        if name == "_logger":
            return logging.getLogger("torchmetrics")
        if name.startswith("__") and name != "__all__":
            about = importlib.import_module("torchmetrics.__about__")
            if hasattr(about, name):
                return getattr(about, name)
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        self.__class__ = ModuleType  # type: ignore[assignment]
        assert self.__spec__.loader is not None
        self.__spec__.loader.exec_module(self)
        return getattr(self, name)


def defer_torchmetrics() -> None:
    """Defers what torchmetrics imports until more of it is used than Lightning needs, unless it is imported already."""
    spec = None if "torchmetrics" in sys.modules else importlib.util.find_spec("torchmetrics")
    if spec is not None:
        module = importlib.util.module_from_spec(spec)
        del module.__path__
        module.__class__ = _Deferred
        sys.modules["torchmetrics"] = module


if TYPE_CHECKING:
    import pandas as pd
else:
    pd = _LazyModule("pandas")
