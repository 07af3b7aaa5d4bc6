"""Tabular data: sources of tables, masks of hidden cells, and the DataModules."""

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
