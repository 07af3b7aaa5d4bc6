"""Build backend that supports editable installs only.

A wheel would install packages with the general names `common`, `modalities` and `scripts`, and leave out the
configurations.
"""

from typing import NoReturn

from setuptools.build_meta import (
    build_editable,
    get_requires_for_build_editable,
    prepare_metadata_for_build_editable,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "prepare_metadata_for_build_editable",
]


def _refuse(*_: object, **__: object) -> NoReturn:
    raise SystemExit("cvae-suite runs from a checkout, not from a wheel: pip install --editable '.[dev]', or make venv")


build_wheel = build_sdist = _refuse
