"""What the README names exists."""

import importlib
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


@pytest.mark.parametrize("command", re.findall(r"\.venv/bin/python (scripts/train_\w+\.py (?:.*\\\n)?.*)", README))
def test_every_training_command_of_the_readme_parses(command, monkeypatch):
    from common.training.cli import SuiteCLI

    monkeypatch.setattr(SuiteCLI, "instantiate_classes", lambda self: None)
    monkeypatch.setattr(SuiteCLI, "_run_subcommand", lambda self, subcommand: None)
    text = command.split("#")[0].replace("RUN/config.yaml", "configs/image/digits.yaml").replace("\\\n", " ")
    script, *words = text.split()
    main = importlib.import_module(f"scripts.{Path(script).stem}").main
    assert main(words).config.subcommand in {"fit", "test", "predict"}


def test_the_commands_of_the_readme_that_generate_are_understood():
    from scripts.generate import parser

    lines = re.findall(r"scripts/generate\.py ((?:.*\\\n)?.*)", README)
    assert len(lines) >= 2
    for line in lines:
        words = line.replace("\\\n", " ").split()
        assert parser().parse_args(words).ckpt
