"""The cells that a specification asks for."""

from pathlib import Path

import pytest
import yaml
from jsonargparse import ArgumentParser

from common.comparison.specification import Budget, Row, Table, cells, data_fingerprint, read_table, slug
from common.training.run_folder import RunConfig
from common.training.tracking.loggers import WandbConfig

SPECIFICATIONS = sorted(Path("configs/tables").glob("*.yaml"))
DIGITS = "configs/image/digits.yaml"


def table(**rows):
    budgets = {"quick": Budget(configs=[DIGITS], set={"trainer.max_epochs": 2}), "full": Budget([0, 1], [DIGITS])}
    return Table("Digits", rows, [], budgets, script="scripts/train_image.py")


def keys(specification, budget="quick"):
    return {cell.row: cell.key for cell in cells(specification, budget, Path("runs"))}


def test_a_key_depends_on_what_decides_the_outcome_and_on_nothing_else():
    plain = keys(table(a=Row(), b=Row(set={"model.latent_dim": 8})))
    assert plain["a"] != plain["b"]
    assert keys(table(other=Row()))["other"] == plain["a"]
    assert keys(table(a=Row()), "full")["a"] != plain["a"]
    assert keys(table(a=Row(budgets={"full": {"model.latent_dim": 8}})))["a"] == plain["a"]


def test_every_seed_of_a_budget_has_a_cell_and_whole_tables_come_first():
    order = [(cell.seed, cell.row) for cell in cells(table(a=Row(), b=Row()), "full", Path("runs"))]
    assert order == [(0, "a"), (0, "b"), (1, "a"), (1, "b")]


def test_rows_fill_in_what_differs_in_the_command_of_their_table():
    rows = {"mean": Row(fill={"method": "mean / mode"}), "other": Row(command=["run.py", "{folder}"])}
    command = ["run.py", "--method", "{method}", "--seed", "{seed}", "{folder}/results.json"]
    filled, own = cells(Table("Filled", rows, [], {"quick": Budget([3])}, command=command), "quick", Path("runs"))
    folder = f"runs/mean/{filled.key}-s3"
    assert filled.command == ("run.py", "--method", "mean / mode", "--seed", "3", f"{folder}/results.json")
    assert own.command == ("run.py", f"runs/other/{own.key}-s3")
    with pytest.raises(ValueError, match=r"row 'mean' does not say what \{method\} is in its command"):
        cells(Table("Unfilled", {"mean": Row()}, [], {"quick": Budget()}, command=command), "quick", Path("runs"))
    ignored = {"mean": Row(set={"model.latent_dim": 3}, fill={"method": "mean"})}
    with pytest.raises(ValueError, match="row 'mean' runs a command, which takes no set"):
        cells(Table("Ignored", ignored, [], {"quick": Budget()}, command=command), "quick", Path("runs"))


def test_options_stack_from_table_to_row():
    specification = table(a=Row(set={"trainer.max_epochs": 3}))
    (cell,) = cells(specification, "quick", Path("runs"))
    assert [word for word in cell.command if word.startswith("--trainer.max_epochs")] == ["--trainer.max_epochs=3"]
    assert cell.folder == Path("runs") / "image" / "a" / f"{cell.key}-s0"


def test_what_two_tables_have_in_common_is_one_run(tmp_path):
    (first,) = cells(table(a=Row()), "quick", tmp_path)
    first.folder.mkdir(parents=True)
    (same,) = cells(table(another_title=Row()), "quick", tmp_path)
    (other,) = cells(table(a=Row(set={"model.latent_dim": 8})), "quick", tmp_path)
    assert same.folder == first.folder != other.folder
    words = same.command.index("--run.title")
    assert same.command[:words] == first.command[:words]


def test_a_tracker_calls_a_run_by_its_row_and_groups_it_by_its_table():
    specification = table(**{"digits: CVAE, 2 x 0.5": Row()})
    (cell,) = cells(specification, "quick", Path("runs"))
    parser = ArgumentParser()
    parser.add_argument("--run", type=RunConfig, default=RunConfig())
    parser.add_argument("--wandb", type=WandbConfig, default=WandbConfig())
    options = parser.instantiate(parser.parse_args(cell.command[cell.command.index("--run.root") :]))
    assert options.run.title == "digits: CVAE, 2 x 0.5"
    assert options.wandb.group == specification.title
    assert options.wandb.tags == ["digits: CVAE, 2 x 0.5", "quick"]


@pytest.mark.parametrize("budget", ["quick", "full"])
def test_the_table_across_modalities_shares_its_runs_with_those_of_text_and_audio(budget):
    names = ("conditioning", "text", "audio")
    across, text, audio = (keys(read_table(Path(f"configs/tables/{name}.yaml")), budget) for name in names)
    assert [across["Bible: VAE"], across["Bible: CVAE, version"]] == [text["VAE"], text["CVAE"]]
    assert [across["tunes: VAE"], across["tunes: CVAE, genre and instrument"]] == [audio["VAE"], audio["CVAE"]]


def test_an_option_that_names_a_class_stays_as_it_is_written(tmp_path):
    schedule = {"class_path": "common.objectives.schedules.Linear", "init_args": {"start": 0.0, "end": 1.0, "steps": 5}}
    row = {
        "set": {"model.objective": {"class_path": "common.objectives.objectives.ELBO", "init_args": {"beta": schedule}}}
    }
    path = tmp_path / "digits.yaml"
    path.write_text(yaml.safe_dump({"title": "", "rows": {"a": row}, "columns": [], "budgets": {"quick": {}}}))
    assert read_table(path).rows["a"].set == row["set"]


def test_the_fingerprint_of_a_cell_is_that_of_its_data():
    (cell,) = cells(table(a=Row()), "quick", Path("runs"))
    from modalities.image.data import Digits

    assert data_fingerprint(cell.data) == Digits(binarize="dynamic").fingerprint


@pytest.mark.parametrize("path", SPECIFICATIONS, ids=lambda path: path.stem)
def test_every_specification_reads_and_names_what_exists(path):
    specification = read_table(path)
    assert specification.columns
    for budget in specification.budgets:
        for cell in cells(specification, budget, Path("runs")):
            assert Path(cell.command[0]).is_file()
    assert {published.status for published in specification.published.values()} <= {"verified", "recalled", "measured"}


@pytest.mark.parametrize(("title", "name"), [("CVAE, p(z | c) flow", "cvae-p-z-c-flow"), ("β", "β"), ("--", "row")])
def test_titles_become_names_of_folders(title, name):
    assert slug(title) == name
