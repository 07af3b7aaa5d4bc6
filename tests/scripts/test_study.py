"""study.py as a person uses it; its trainings are stood in for by a script that takes no time."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from common.comparison import study_runs
from common.comparison.complexity import Cost
from common.comparison.specification import Budget, MetricColumn, Row, Table, cells
from common.results import EXAMPLES
from scripts import study
from tests.common.comparison.tables import write_table


@pytest.fixture
def specification(tmp_path):
    path = tmp_path / "faces.yaml"
    content = {"title": "Faces", "script": "scripts/train_image.py", "configs": ["configs/image/utkface.yaml"]}
    path.write_text(yaml.safe_dump({**content, "conditions": ["age"], "sizes": [5, 50]}))
    return path


def stand_in(folder, values):
    """A table of a study with runs that have these values, and keep 50 examples around them."""
    recipe = write_table(folder, values)
    commands = {name: row["command"] for name, row in yaml.safe_load(recipe.read_text())["rows"].items()}
    script = folder / "run.py"
    script.write_text(
        script.read_text()
        + "\nimport numpy as np\n"
        + f"np.savez(folder / {EXAMPLES!r}, nll=nll['value'] + np.random.default_rng(0).normal(size=50))\n"
    )
    rows = {name: Row(command=command) for name, command in commands.items()}
    return Table("Faces", rows, [MetricColumn("test/nll", "NLL")], {"study": Budget([0])})


def run(*words):
    return study.main([str(word) for word in words])


def test_conditions_are_ranked_in_a_table_a_plot_and_a_sentence(specification, tmp_path, monkeypatch, capsys):
    values = {"none": 10.0, "age": 8.0, "shuffled": 10.5}
    monkeypatch.setattr(study_runs, "condition_table", lambda _: stand_in(tmp_path, values))
    assert run("conditions", specification, "--root", tmp_path / "runs", "--out", tmp_path / "out") == 0
    shown = capsys.readouterr().out
    assert "| age | +2.00 | +2.00 to +2.00 | 50 |" in shown
    assert "Worth having: age" in shown
    assert "gains nothing: shuffled (-0.50" in shown
    table = tmp_path / "out" / "faces-conditions.md"
    assert table.read_text() in shown
    assert Image.open(tmp_path / "out" / "faces-conditions.png").size[0] == 700


def test_sizes_become_a_table_and_a_plot(specification, tmp_path, monkeypatch, capsys):
    values = {"5 examples each": 10.0, "50 examples each": 8.0}
    monkeypatch.setattr(study_runs, "data_table", lambda _: stand_in(tmp_path, values))
    assert run("data", specification, "--root", tmp_path / "runs", "--out", tmp_path) == 0
    assert "| 50 examples each | 8.00 ± 0.25 | 1 |" in capsys.readouterr().out
    assert np.asarray(Image.open(tmp_path / "faces-data.png")).std() > 0


def test_costs_become_a_table_a_plot_and_a_sentence(tmp_path, monkeypatch, capsys):
    made = [
        Cost(0, 1000, 2e6, 0.010, 5.0, {1: 0.001, 10: 0.004}),
        Cost(4, 1500, 3e6, 0.011, 6.0, {1: 0.002, 10: 0.005}),
    ]
    data = SimpleNamespace(batch=lambda split, size: None)
    monkeypatch.setattr(study_runs, "restore", lambda _: SimpleNamespace(data=lambda: data))
    monkeypatch.setattr(study_runs, "costs", lambda *_: made)
    torch.save({"suite_format": 0}, tmp_path / "best.ckpt")
    assert run("complexity", "--ckpt", tmp_path / "best.ckpt", "--out", tmp_path / "out") == 0
    shown = capsys.readouterr().out
    assert "| 4 | 1,500 | 3.00 | 11.0 | 6 | 2.00 | 5.00 |" in shown
    assert "4 conditions against none: parameters x 1.50, FLOPs x 1.50, step x 1.10." in shown
    assert Image.open(tmp_path / "out" / "complexity.png").size[0] == 900
    assert run("check", "--out", tmp_path / "out") == 0


def test_a_table_that_is_not_what_its_results_say_is_named(specification, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(study_runs, "condition_table", lambda _: stand_in(tmp_path, {"none": 10.0, "age": 8.0}))
    run("conditions", specification, "--root", tmp_path / "runs", "--out", tmp_path / "out")
    assert run("check", "--out", tmp_path / "out") == 0
    table = tmp_path / "out" / "faces-conditions.md"
    table.write_text(table.read_text().replace("+2.00", "+3.00"))
    assert run("check", "--out", tmp_path / "out") == 1
    assert "faces-conditions.md is not what faces-conditions.json says" in capsys.readouterr().out


def test_the_studies_of_docs_are_those_of_the_committed_results():
    assert list(study.parser().parse_args(["check"]).out.glob("*.json"))
    assert run("check") == 0


def test_the_trainings_of_a_study_are_command_lines_of_the_suite(specification, tmp_path):
    from common.comparison.studies import condition_table, data_table, read_study
    from modalities.image import ImageCVAE
    from modalities.image.data import ImageData
    from modalities.image.report import ImageReport
    from scripts.train_image import LINKS
    from tests.scripts.unrun import ParseOnly

    wanted = read_study(specification)
    for table in (condition_table(wanted), data_table(wanted)):
        for cell in cells(table, "study", tmp_path):
            subset = ParseOnly(
                ImageCVAE, ImageData, ImageReport, "image", LINKS, args=list(cell.command[1:])
            ).config.fit.subset
            assert subset.shuffle == (["age"] if cell.row == "shuffled" else [])
            assert subset.examples == (int(cell.row.split()[0]) if "each" in cell.row else None)


def test_a_missing_study_lists_those_that_exist(capsys):
    assert run("conditions", "nothing") == 2
    assert "; in configs/studies: digits, tunes" in capsys.readouterr().err
