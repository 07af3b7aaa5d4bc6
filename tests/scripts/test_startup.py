"""A command line answers at once: nothing heavy is imported before it is used."""

import subprocess
import sys

import pytest

from common.comparison.rendering import FORMATS
from scripts import compare

LIGHT = ["generate", "evaluate", "impute", "compare", "report", "study", "benchmark", "sweep", "share"]
HELP = """
import runpy, sys
sys.argv = [{script!r}, "--help"]
try:
    runpy.run_path({script!r}, run_name="__main__")
except SystemExit as ending:
    assert not ending.code
print(" ".join(sys.modules))
"""


def loaded(code):
    """Names of the packages that some code imports."""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in result.stdout.splitlines()[-1].split()}


@pytest.mark.parametrize("script", LIGHT)
def test_scripts_without_a_trainer_print_their_help_before_torch_is_imported(script):
    packages = loaded(HELP.format(script=f"scripts/{script}.py"))
    assert not packages & {"torch", "numpy", "lightning", "pandas", "scipy", "matplotlib"}


def test_training_scripts_import_nothing_heavy_beside_torch_and_lightning():
    names = ", ".join(f"scripts.train_{name}" for name in ("image", "text", "audio", "tabular"))
    packages = loaded(f"import sys, {names}; print(' '.join(sys.modules))")
    assert "lightning" in packages
    assert not packages & {"pandas", "pyarrow", "sklearn", "wandb", "music21", "mlxtend", "symusic", "ray", "sacrebleu"}


def test_a_checkpoint_is_restored_without_the_packages_of_metrics():
    packages = loaded("import sys, common.training.restore, modalities.image; print(' '.join(sys.modules))")
    assert "torchmetrics" in packages
    assert not packages & {"transformers", "scipy", "pandas", "sklearn"}


def test_all_of_torchmetrics_is_all_of_it():
    code = "import common; from torchmetrics import *; print(Accuracy.__module__, MeanMetric.__module__)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["torchmetrics.classification.accuracy", "torchmetrics.aggregation"]


@pytest.mark.parametrize("first", ["torchmetrics.metric", "torchmetrics.classification", "lightning.pytorch"])
def test_torchmetrics_is_whole_as_soon_as_more_of_it_is_used(first):
    code = f"""
import common, importlib
importlib.import_module({first!r})
from torchmetrics import Metric, MetricCollection
import torch, torchmetrics, torchmetrics.metric
assert not hasattr(torchmetrics, "__wrapped__")
assert Metric is torchmetrics.Metric is torchmetrics.metric.Metric
accuracy = torchmetrics.Accuracy(task="binary")
assert isinstance(accuracy, Metric)
print(float(MetricCollection([accuracy])(torch.tensor([0.9, 0.2]), torch.tensor([1, 1]))["BinaryAccuracy"]))
assert {{"Accuracy", "MeanMetric"}} <= set(dir(torchmetrics)), dir(torchmetrics)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) == 0.5


def test_the_formats_of_a_table_are_those_that_the_command_line_offers():
    run = compare.parser().parse_args(["show", "text", "--format", "html"])
    assert run.format == "html"
    for name in FORMATS:
        assert compare.parser().parse_args(["show", "text", "--format", name]).format == name
