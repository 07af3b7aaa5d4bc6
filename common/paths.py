"""Where data sets and caches lie."""

import os
from pathlib import Path


def data_root() -> Path:
    """Where data sets lie: $SUITE_DATA, or `data` in the working directory."""
    return Path(os.environ.get("SUITE_DATA", "data"))


def cache_root() -> Path:
    """Where decoded data and judges are kept: $SUITE_CACHE, or `~/.cache/cvae-suite`."""
    path = Path(os.environ.get("SUITE_CACHE", Path.home() / ".cache" / "cvae-suite"))
    path.mkdir(parents=True, exist_ok=True)
    return path
