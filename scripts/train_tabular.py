"""Trains, validates, tests or applies a tabular CVAE. Start from configs/tabular/*.yaml."""

from common.command_line import run_training
from common.training.cli import SuiteCLI
from modalities.tabular import TabularCVAE
from modalities.tabular.data import TabularData
from modalities.tabular.evaluation.report import TabularReport

LINKS = [("columns", "condition.init_args.columns"), ("columns", "columns")]


def main(args: list[str] | None = None) -> SuiteCLI:
    """Runs a command line, by default that of the process."""
    return SuiteCLI(TabularCVAE, TabularData, TabularReport, "tabular", LINKS, args)


if __name__ == "__main__":
    run_training("train_tabular.py", main)
