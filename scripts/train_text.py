"""Trains, validates, tests or applies a text-style CVAE. Start from configs/text/*.yaml."""

from common.command_line import run_training
from common.training.cli import SuiteCLI
from modalities.text import TextStyleCVAE
from modalities.text.data import TextData
from modalities.text.evaluation.report import TextReport

LINKS = [
    ("attributes", "condition.init_args.attributes"),
    ("tokenizer", "condition.init_args.tokenizer"),
    ("length", "condition.init_args.length"),
    ("tokenizer", "tokenizer"),
    ("length", "length"),
    ("hidden_tokens", "hidden_tokens"),
]


def main(args: list[str] | None = None) -> SuiteCLI:
    """Runs a command line, by default that of the process."""
    return SuiteCLI(TextStyleCVAE, TextData, TextReport, "text", LINKS, args)


if __name__ == "__main__":
    run_training("train_text.py", main)
