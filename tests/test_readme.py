"""What README and the guides name exists, their commands parse, and their examples run."""

import importlib
import re
import runpy
import shlex
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from lightning.pytorch import Trainer

ROOT = Path(__file__).parent.parent
GUIDES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {str(path.relative_to(ROOT)): path.read_text() for path in GUIDES}
README = TEXTS["README.md"]

COMMAND = re.compile(r"(?:^ *|`)\.venv/bin/python (scripts/\w+\.py[^`\n]*)", re.MULTILINE)


def commands(text):
    """Words of every command line of a text, lines that end in a backslash joined, comments left out."""
    joined = re.sub(r"\\\n\s*", " ", text)
    found = [shlex.split(line, comments=True) for line in COMMAND.findall(joined)]
    assert len(found) == joined.count(".venv/bin/python scripts/")  # none is written in a way that is overlooked
    return found


COMMANDS = {" ".join(words): words for text in TEXTS.values() for words in commands(text)}
TRAININGS = {line: words for line, words in COMMANDS.items() if words[0].startswith("scripts/train_")}
OTHERS = {line: words for line, words in COMMANDS.items() if line not in TRAININGS}
EXAMPLES = {
    f"{name}-{number}": block
    for name, text in TEXTS.items()
    for number, block in enumerate(re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
}


def heading_anchors(text):
    """Anchors of a Markdown file's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_has_at_most_150_lines():
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("name", TEXTS)
def test_every_path_that_is_named_exists(name):
    named = set(re.findall(r"(?<![\w/.-])(?:configs|scripts|tests|docs|common|modalities)/[\w/.-]*\w", TEXTS[name]))
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
    if name == "README.md":
        assert len(named) > 10


@pytest.mark.parametrize("name", TEXTS)
def test_every_link_leads_to_a_file_and_a_heading(name):
    folder = (ROOT / name).parent
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXTS[name]):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = folder / path if path else ROOT / name
        assert file.exists(), target
        if anchor:
            assert anchor in heading_anchors(file.read_text()), target


@pytest.mark.parametrize("name", TEXTS)
def test_every_make_target_that_is_named_exists(name):
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:^ {4}|`)make ([a-z][\w-]*)", TEXTS[name], re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("name", TEXTS)
def test_every_class_path_that_is_named_can_be_imported(name):
    for path in set(re.findall(r"(?<![\w/])(?:common|modalities)(?:\.\w+)+", TEXTS[name])):
        try:
            importlib.import_module(path)
        except ModuleNotFoundError:
            module, _, attribute = path.rpartition(".")
            assert hasattr(importlib.import_module(module), attribute), path


def test_the_guides_have_commands_and_examples():
    assert len(TRAININGS) > 25
    names = (
        "benchmark",
        "compare",
        "demo",
        "evaluate",
        "export",
        "generate",
        "impute",
        "report",
        "share",
        "study",
        "sweep",
    )
    assert {words[0] for words in OTHERS.values()} == {f"scripts/{name}.py" for name in names}
    assert len(EXAMPLES) >= 6


@pytest.mark.parametrize("line", TRAININGS)
def test_every_training_command_parses(line, monkeypatch):
    from common.training.cli import SuiteCLI

    monkeypatch.chdir(ROOT)
    for stage in ("before_instantiate_classes", "instantiate_classes", "after_instantiate_classes"):
        monkeypatch.setattr(SuiteCLI, stage, lambda self: None)
    monkeypatch.setattr(SuiteCLI, "_run_subcommand", lambda self, subcommand: None)
    script, *words = [word.replace("RUN/config.yaml", "configs/image/digits.yaml") for word in TRAININGS[line]]
    main = importlib.import_module(f"scripts.{Path(script).stem}").main
    assert main(words).config.subcommand in {"fit", "validate", "test", "predict"}


@pytest.mark.parametrize("line", OTHERS)
def test_every_other_command_is_understood(line, tmp_path, monkeypatch):
    script, *words = OTHERS[line]
    for word in words:  # a command line is refused where a file to read does not exist
        if Path(word).suffix and not (ROOT / word).exists():
            (tmp_path / word).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / word).touch()
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(f"scripts.{Path(script).stem}")
    arguments = module.parser().parse_args(words)
    for name, folder in (("table", "configs/tables"), ("study", "configs/studies"), ("sweep", "configs/sweeps")):
        specification = getattr(arguments, name, None)
        if isinstance(specification, str):
            assert (ROOT / folder / f"{specification}.yaml").exists()


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory, digits):
    """`RUN` of the examples: a model of digits, untrained, with its checkpoint."""
    from modalities.image import AttributeEncoder, ImageCVAE
    from modalities.image.networks import MLP

    folder = tmp_path_factory.mktemp("guides") / "RUN"
    model = ImageCVAE(AttributeEncoder(digits.attributes, dim=8), latent_dim=4, architecture=MLP(hidden=(16,)))
    trainer = Trainer(logger=False, enable_progress_bar=False, accelerator="cpu", devices=1)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(folder / "checkpoints" / "best.ckpt")
    return folder


def run_example(name, folder, monkeypatch):
    """The names that an example leaves behind, run as a script of its own in a folder of its own."""
    script = folder / "example.py"
    script.write_text(EXAMPLES[name])
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", [str(script)])
    return runpy.run_path(str(script), run_name="__main__")


@pytest.mark.parametrize("name", [name for name in EXAMPLES if "new-modality" not in name])
def test_every_example_runs(name, tmp_path, run_folder, monkeypatch):
    (tmp_path / "RUN").symlink_to(run_folder)
    left = run_example(name, tmp_path, monkeypatch)
    if name == "README.md-0":
        assert left["images"].shape == (8, 2, 1, 28, 28)
    if name.startswith("docs/tabular.md"):
        assert left["filled"].isna().sum().sum() == 0
        assert len(left["twenty"]) == 20


def test_the_new_modality_takes_under_60_lines_and_learns_its_condition(tmp_path, monkeypatch):
    (name,) = [name for name in EXAMPLES if "new-modality" in name]
    assert len([line for line in EXAMPLES[name].splitlines() if line.strip()]) < 60
    left = run_example(name, tmp_path, monkeypatch)
    assert 1.0 < left["results"]["test/condition_gain"].value < 1.0987  # knowing one of three is worth log 3
    assert left["waves"].shape == (5, 3, 16)


def test_the_citation_names_the_version_and_licence_of_the_package():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
