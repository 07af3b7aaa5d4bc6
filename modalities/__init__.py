"""One package for each kind of data. A modality imports `common` and never another modality."""

import common  # noqa: F401 (what it defers must not be imported by Lightning before)
