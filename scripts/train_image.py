"""Trains, validates, tests or applies an image CVAE. Start from configs/image/*.yaml."""

from common.cli import SuiteCLI
from modalities.image import ImageCVAE
from modalities.image.data import ImageData

LINKS = {"attributes": "condition.init_args.attributes", "shape": "shape"}

if __name__ == "__main__":
    SuiteCLI(ImageCVAE, ImageData, "image", LINKS)
