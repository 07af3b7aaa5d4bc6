"""What the README names exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_every_path_in_the_readme_exists():
    named = set(re.findall(r"(?:configs|scripts|tests|docs|common|modalities)/[\w/.]*\w", README))
    assert len(named) > 10
    missing = [path for path in named if not (ROOT / path).exists()]
    assert missing == []


def test_every_make_target_in_the_readme_exists():
    targets = set(re.findall(r"make (\w+)", README)) - {"alone"}
    makefile = (ROOT / "Makefile").read_text()
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("command", re.findall(r"\.venv/bin/python (scripts/train_\w+\.py .*)", README))
def test_every_training_command_of_the_readme_parses(command):
    from common.cli import SuiteCLI
    from modalities.audio import AudioGenreCVAE
    from modalities.audio.data import AudioData
    from modalities.image import ImageCVAE
    from modalities.image.data import ImageData
    from modalities.text import TextStyleCVAE
    from modalities.text.data import TextData
    from scripts import train_audio, train_image, train_text

    class ParseOnly(SuiteCLI):
        def instantiate_classes(self):
            pass

        def _run_subcommand(self, subcommand):
            pass

    script, *words = (
        command.split("#")[0].replace("RUN/config.yaml", "configs/image/digits.yaml").replace("\\", "").split()
    )
    kinds = {
        "scripts/train_image.py": (ImageCVAE, ImageData, "image", train_image.LINKS),
        "scripts/train_audio.py": (AudioGenreCVAE, AudioData, "audio", train_audio.LINKS),
        "scripts/train_text.py": (TextStyleCVAE, TextData, "text", train_text.LINKS),
    }
    assert ParseOnly(*kinds[script], args=words).config.subcommand in {"fit", "test", "predict"}


def test_the_commands_of_the_readme_that_generate_are_understood():
    from scripts.generate import parser

    lines = re.findall(r"scripts/generate\.py ((?:.*\\\n)?.*)", README)
    assert len(lines) >= 2
    for line in lines:
        words = line.replace("\\\n", " ").split()
        assert parser().parse_args(words).ckpt
