"""A sweep's file is one of W&B's: the same words reach the training script through its agent and through the suite."""

import importlib
from pathlib import Path

import pytest
import yaml
from wandb.apis.public.sweeps import _validate_config_and_fill_distribution
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args, load_sweep_config

from common.sweeps.space import constants, options, space
from common.sweeps.specification import read_sweep
from tests.common.sweeps.stub import write_sweep
from tests.conftest import ROOT

FILES = sorted((ROOT / "configs" / "sweeps").glob("*.yaml"))
WANDB_KEYS = {  # of the schema of the package `sweeps` 0.3.0, which allows no others
    "apiVersion", "kind", "controller", "description", "program", "job", "image_uri", "entity", "project", "method",
    "command", "name", "run_cap", "metric", "metrics", "scheduler", "early_terminate", "parameters",
}  # fmt: skip


def first_options(sweep):
    """The first or least value of every option."""
    parts = space(sweep)
    points = {name: part.points[0] if hasattr(part, "values") else part.low for name, part in parts.items()}
    return {**constants(sweep), **options(parts, points)}


def words_of_the_agent(content, values):
    """What `wandb agent` would execute, made as its `Agent._command_run` does, by W&B's own functions."""
    macros = create_sweep_command_args({"args": {name: {"value": value} for name, value in values.items()}})
    macros |= {"interpreter": ["python"], "program": [content["program"]], "env": ["/usr/bin/env"]}
    words = []
    for word in map(str, create_sweep_command(list(content["command"]))):
        words += macros.get(word[2:-1]) or [] if word.startswith("${") and word.endswith("}") else [word]
    return words


@pytest.fixture
def parsed(monkeypatch):
    """Parses a command line with its training script, which builds nothing."""
    from common.training.cli import SuiteCLI

    for stage in ("before_instantiate_classes", "instantiate_classes", "after_instantiate_classes"):
        monkeypatch.setattr(SuiteCLI, stage, lambda self: None)
    monkeypatch.setattr(SuiteCLI, "_run_subcommand", lambda self, subcommand: None)
    monkeypatch.chdir(ROOT)

    def parse(script, words):
        return importlib.import_module(f"scripts.{Path(script).stem}").main(words).config.fit

    return parse


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_agent_of_wandb_and_the_suite_configure_the_same_training(file, parsed, monkeypatch):
    monkeypatch.chdir(ROOT)
    content = load_sweep_config(str(file))
    assert set(content) <= WANDB_KEYS
    assert set(content["parameters"]) == set(_validate_config_and_fill_distribution(content)["parameters"])
    sweep = read_sweep(file)
    values = first_options(sweep)
    agent = words_of_the_agent(content, values)
    assert agent[:3] == ["/usr/bin/env", "python", sweep.program]
    ours = sweep.command_line(values)
    assert ours[0] == sweep.program
    by_agent, by_suite = parsed(agent[2], agent[3:]), parsed(ours[0], ours[1:])
    assert by_agent.as_dict() == by_suite.as_dict()
    assert {name: by_suite[name] for name in values} == values


def test_lists_booleans_and_numbers_reach_the_script_alike(tmp_path, parsed):
    values = {
        "model.condition.init_args.dim": 16,
        "model.architecture.init_args.channels": [8, 16],
        "model.condition.init_args.use": ["digit"],
        "run.test": False,
        "model.optimizer.init_args.lr": 1e-05,
        "data.init_args.binarize": "dynamic",
    }
    content = {
        "program": "scripts/train_image.py",
        "command": ["${program}", "fit", "--config", "configs/image/digits.yaml", "${args}"],
    }
    agent = words_of_the_agent(content, values)
    config = parsed(agent[0], agent[1:])
    assert config.model.architecture.init_args.channels == [8, 16]
    assert config.model.condition.init_args.use == ["digit"]
    assert config.run.test is False
    assert config.model.optimizer.init_args.lr == 1e-05


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metod": "grid"}, "metod"),
        ({"command": ["${program}", "${args}"]}, "command must have ${program}, fit"),
        ({"command": ["${program}", "fit", "${args_no_hyphens}", "${args}"]}, "${args_no_hyphens} is not understood"),
        (
            {"command": ["${program}", "fit", "--config", "configs/none.yaml", "${args}"]},
            "no configuration configs/none",
        ),
        ({"command": ["${program}", "fit", "--run.id=a", "${args}"]}, "run.id is decided by the sweep"),
        ({"program": "scripts/none.py"}, "there is no script scripts/none.py"),
        ({"metric": {"name": "test/nll", "goal": "minimize"}}, "metric.name test/nll"),
        ({"metric": {"name": "val/elbo"}}, "goal"),
        ({"run_cap": 0}, "run_cap must be at least 1"),
        ({"early_terminate": {"type": "envelope"}}, "early_terminate"),
    ],
)
def test_what_is_wrong_in_a_specification_is_named(tmp_path, change, message):
    path = write_sweep(tmp_path, {"model.x": {"values": [1, 2]}})
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **change}))
    with pytest.raises(ValueError, match=str(path)) as refused:
        read_sweep(path)
    assert message in str(refused.value)
