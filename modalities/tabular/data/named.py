"""Tables by name: those of scikit-learn and of openml.org."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common.lazy import pd
from modalities.tabular.data.datamodules import OwnTable
from modalities.tabular.data.tables import openml_table, scikit_table


class ScikitLearn(OwnTable):
    """A table of scikit-learn; its target is a column like any other.

    Args:
        name: `iris`, `wine`, `breast_cancer`, `diabetes`, `digits`, `linnerud`; or one that is downloaded,
            `california_housing`, `covtype`, `kddcup99`.
        home: where downloads are kept; None is scikit-learn's own folder.
        base: as in `OwnTable`.
    """

    def __init__(self, name: str, home: Path | None = None, **base: Any) -> None:
        super().__init__(**base)
        self.table, self.home = name, home
        self.source = f"scikit-learn's {name}"

    def read(self) -> pd.DataFrame:
        """Reads the table with its target."""
        return scikit_table(self.table, target=True, home=self.home)


class OpenML(OwnTable):
    """A table of openml.org, which is downloaded once; its target is a column like any other.

    Args:
        name: its name, such as `adult`.
        data_id: its number there, in place of a name.
        version: of the name; None takes the oldest that is active.
        home: where downloads are kept; None is scikit-learn's own folder.
        base: as in `OwnTable`.
    """

    def __init__(
        self,
        name: str | None = None,
        data_id: int | None = None,
        version: int | None = None,
        home: Path | None = None,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        if (name is None) == (data_id is None) or (version is not None and name is None):
            raise ValueError("data.name (with a data.version) or data.data_id says which table of OpenML is read")
        self.table, self.data_id, self.version, self.home = name, data_id, version, home
        self.source = f"OpenML's {name or data_id}"

    def read(self) -> pd.DataFrame:
        """Reads the table with its target."""
        return openml_table(self.table, self.data_id, self.version, self.home)
