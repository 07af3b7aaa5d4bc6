"""One package for each kind of data. A modality imports `common` and never another modality."""
