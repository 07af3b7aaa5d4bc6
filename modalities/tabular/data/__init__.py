"""Tables as data: where they come from, what is hidden of them, and the DataModules."""

from modalities.tabular.data.datamodules import (
    BreastCancer,
    Diabetes,
    Iris,
    ScikitTable,
    Synthetic,
    TableFile,
    TabularData,
    Wine,
)

__all__ = ["BreastCancer", "Diabetes", "Iris", "ScikitTable", "Synthetic", "TableFile", "TabularData", "Wine"]
