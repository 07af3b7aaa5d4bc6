"""Tabular data: sources of tables, masks of hidden cells, and the DataModules."""

from modalities.tabular.data.datamodules import (
    BreastCancer,
    Diabetes,
    Iris,
    OwnTable,
    ScikitTable,
    Synthetic,
    TableFile,
    TabularData,
    Wine,
)
from modalities.tabular.data.named import OpenML, ScikitLearn

__all__ = [
    "BreastCancer",
    "Diabetes",
    "Iris",
    "OpenML",
    "OwnTable",
    "ScikitLearn",
    "ScikitTable",
    "Synthetic",
    "TableFile",
    "TabularData",
    "Wine",
]
