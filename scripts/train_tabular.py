"""Trains, validates, tests or applies a tabular CVAE. Start from configs/tabular/*.yaml."""

from common.training.cli import SuiteCLI
from modalities.tabular import TabularCVAE
from modalities.tabular.data.datamodules import TabularData

LINKS = [("columns", "condition.init_args.columns"), ("columns", "columns")]


def main(args: list[str] | None = None) -> SuiteCLI:
    """Runs a command line, that of the process where none is given."""
    return SuiteCLI(TabularCVAE, TabularData, "tabular", LINKS, args)


if __name__ == "__main__":
    main()
