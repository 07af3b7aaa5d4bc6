"""pandas, imported when it is first used, so that a command line starts without it."""

import importlib
from typing import TYPE_CHECKING, Any

__all__ = ["pd"]


class _LazyModule:
    """Stands for a module until one of its names is requested."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)


if TYPE_CHECKING:
    import pandas as pd
else:
    pd = _LazyModule("pandas")
