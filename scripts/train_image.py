"""Trains, validates, tests or applies an image CVAE. Start from configs/image/*.yaml."""

from common.command_line import run_training
from common.training.cli import SuiteCLI
from modalities.image import ImageCVAE
from modalities.image.data import ImageData
from modalities.image.report import ImageReport

LINKS = [("attributes", "condition.init_args.attributes"), ("shape", "shape")]


def main(args: list[str] | None = None) -> SuiteCLI:
    """Runs a command line, by default that of the process."""
    return SuiteCLI(ImageCVAE, ImageData, ImageReport, "image", LINKS, args)


if __name__ == "__main__":
    run_training("train_image.py", main)
