"""The tabular scripts as a person uses them: train, test, fill a file, generate rows."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.results import Results
from common.training.module import ConditionalELBO
from modalities.tabular import TabularCVAE
from modalities.tabular.data.table_files import read_table, write_rows
from modalities.tabular.data.tables import synthetic
from scripts.generate import generate
from scripts.generate import parser as generate_parser
from scripts.impute import impute
from scripts.impute import parser as impute_parser

QUICK = ["--wandb.mode", "disabled", "--trainer.max_epochs", "3", "--model.evaluation.num_samples", "20"]
SMALL = ["--model.hidden", "16", "--model.condition.init_args.width", "8", "--model.latent_dim", "3"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("tables")
    synthetic(200, 0.15, 2).to_csv(root / "table.csv", index=False)
    return root


@pytest.fixture(scope="module")
def run(train_tabular, folder):
    """The folder of a finished run on a person's own table."""
    options = ["--data.root", folder / "table.csv", "--run.root", folder / "runs", *QUICK, *SMALL]
    train_tabular("fit", "--config", "configs/tabular/table.yaml", *options)
    return next((folder / "runs" / "tabular" / "table").iterdir())


def fill(run, *options):
    impute(impute_parser().parse_args(["--ckpt", str(run / "checkpoints/best.ckpt"), *map(str, options)]))


def test_a_run_leaves_figures_and_pictures(run):
    figures = Results.read(run / "results.json").metrics
    expected = {"elbo", "nll", "kl", "mse", "nrmse", "pfc", "coverage", "width", "masked_log_likelihood"}
    assert {f"test/{name}" for name in expected} <= set(figures)
    assert -figures["test/nll"].value == pytest.approx(figures["test/masked_log_likelihood"].value, abs=0.5)
    assert 0.7 < figures["test/coverage"].value <= 1
    gain = figures["test/condition_gain"]  # the columns depend on each other
    assert gain.value > 2 * gain.stderr > 0
    pictures = {path.name for path in (run / "samples").iterdir()}
    assert {"test-scatter.png", "test-completed.png", "test-completed.csv"} <= pictures
    assert isinstance(ConditionalELBO.load_from_checkpoint(run / "checkpoints" / "best.ckpt"), TabularCVAE)


def test_miwae_is_one_configuration_away(train_tabular, tmp_path):
    configs = ["--config", "configs/tabular/wine.yaml", "--config", "configs/tabular/miwae.yaml"]
    protocol = ["--data.protocol", "cells", "--data.statistics", "all"]
    train_tabular("fit", *configs, *protocol, *QUICK, "--run.root", tmp_path)
    figures = Results.read(next(tmp_path.rglob("results.json"))).metrics
    assert figures["test/mse"].n == 178 * 13 // 2
    assert figures["test/mse"].value < 0.85  # it starts at factor analysis
    assert "test/masked_log_likelihood" in figures
    assert "test/condition_gain" not in figures  # it is told nothing


def test_a_file_is_filled_and_its_observed_cells_stay(run, folder):
    fill(run, "--in", folder / "table.csv", "--out", folder / "filled.csv", "--num", 3, "--intervals", 0.9)
    before = (folder / "table.csv").read_text().splitlines()
    table, filled = pd.read_csv(folder / "table.csv"), pd.read_csv(folder / "filled.csv")
    assert not filled.isna().any().any()
    for name in ("filled", "filled-1", "filled-2", "filled-3"):
        after = (folder / f"{name}.csv").read_text().splitlines()
        assert len(after) == len(before)
        for old, new in zip(before, after, strict=True):
            assert all(x in ("", y) for x, y in zip(old.split(","), new.split(","), strict=True))
    intervals = pd.read_csv(folder / "filled-intervals.csv")
    assert len(intervals) == table.isna().sum().sum()
    holes = [(row + 2, table.columns[column]) for row, column in zip(*table.isna().to_numpy().nonzero(), strict=True)]
    assert list(zip(intervals["line"], intervals["column"], strict=True)) == holes
    numbers = intervals.dropna(subset="low")
    assert (numbers["low"] < numbers["high"]).all()
    assert intervals.loc[intervals["column"] == "group", "probability"].between(1 / 3 - 1e-6, 1).all()
    assert (folder / "filled-1.csv").read_text() != (folder / "filled-2.csv").read_text()


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 1))
def test_observed_cells_of_any_table_come_back_byte_for_byte(run, folder, seed, share):
    generator = np.random.default_rng(seed)
    table = synthetic(6, 0.0, seed)
    table["visits"] = table["visits"].clip(upper=8)  # of the values that the training saw
    formats = [repr, "{:.4g}".format, "{:+.5e}".format, '"{:.7f}"'.format]
    texts = [
        [generator.choice(formats)(float(cell)) if isinstance(cell, float) else str(cell) for cell in row]
        for row in table.itertuples(index=False)
    ]
    hidden = generator.random(table.shape) < share
    before = [
        [generator.choice(["", "NA", "?"]) if hole else text for text, hole in zip(*row, strict=True)]
        for row in zip(texts, hidden, strict=True)
    ]
    ending = generator.choice(["\n", "\r\n"])
    lines = [",".join(table.columns), *(",".join(row) for row in before)]
    (folder / "any.csv").write_bytes(ending.join(lines).encode())
    fill(run, "--in", folder / "any.csv", "--out", folder / "any-filled.csv", "--proposals", 5)
    header, *after = (folder / "any-filled.csv").read_bytes().decode().split(ending)
    assert header == lines[0]
    for old, new, holes in zip(texts, after, hidden, strict=True):
        for text, cell, hole in zip(old, new.split(","), holes, strict=True):
            assert cell not in ("", "NA", "?") if hole else cell == text


def test_parquet_keeps_dtypes_and_column_order(run, folder):
    table = pd.read_csv(folder / "table.csv")
    table["visits"] = table["visits"].astype("Int64")
    table = table[table.columns[::-1]]
    table.to_parquet(folder / "table.parquet")
    fill(run, "--in", folder / "table.parquet", "--out", folder / "filled.parquet")
    filled = pd.read_parquet(folder / "filled.parquet")
    assert list(filled.columns) == list(table.columns)
    assert (filled.dtypes == table.dtypes).all()
    assert not filled.isna().any().any()
    assert filled["visits"][table["visits"].notna()].equals(table["visits"][table["visits"].notna()])


def test_an_empty_row_is_filled_and_named(run, folder, capsys):
    header, first = (folder / "table.csv").read_text().splitlines()[:2]
    (folder / "empty.csv").write_text(f"{header}\n{first}\n{',' * (len(header.split(',')) - 1)}\n")
    fill(run, "--in", folder / "empty.csv", "--out", folder / "empty-filled.csv")
    assert "no observed cell in line 3: filled" in capsys.readouterr().out
    assert not pd.read_csv(folder / "empty-filled.csv").isna().any().any()


def german(table):
    """A table as a German Excel writes it: semicolons, decimal commas, codes for missing, an index and identifiers."""
    table = table.assign(income=table["income"] * 1000).where(table.notna())
    cells = table.map(
        lambda cell: "" if pd.isna(cell) else f"{cell:.4f}".replace(".", ",") if isinstance(cell, float) else cell
    )
    cells["income"] = ["" if pd.isna(n) else f"{n:,.2f}".translate(str.maketrans(",.", ".,")) for n in table["income"]]
    cells["visits"] = ["-999" if pd.isna(n) else f"{n:.0f}" for n in table["visits"]]
    cells["grade"] = cells["grade"].replace("", "n/a")
    cells.insert(0, "patient", [f"P{row:04d}" for row in range(len(table))])
    cells.insert(3, "remark", ["", "seen"] * (len(table) // 2))
    cells["split"] = ["train", "train", "val", "test"] * (len(table) // 4)
    return cells


@pytest.fixture(scope="module")
def german_run(train_tabular, folder):
    """The run of a table with semicolons, whose options say what is no data and what is empty."""
    path = folder / "german.csv"
    german(synthetic(100, 0.15, 2)).to_csv(path, index=False, sep=";", encoding="utf-8-sig", lineterminator="\r\n")
    table = f"--data.root {path} --data.index patient --data.drop [remark] --data.map income=earnings"
    kept = f"--data.dialect.na_values [n/a,-999] --run.root {folder / 'runs'} --run.name german --run.test false"
    options = [*table.split(), *kept.split(), *QUICK, *SMALL, "--trainer.max_epochs", "1"]
    train_tabular("fit", "--config", "configs/tabular/table.yaml", *options)
    return next((folder / "runs" / "tabular" / "german").iterdir())


def test_a_table_of_semicolons_is_filled_as_it_is_written_and_the_training_is_remembered(german_run, folder, capsys):
    fill(german_run, "--in", folder / "german.csv", "--out", folder / "german-filled.csv", "--intervals", 0.8)
    said = capsys.readouterr().out.splitlines()
    before, after = ((folder / name).read_bytes().decode() for name in ("german.csv", "german-filled.csv"))
    assert before.startswith("\ufeffpatient;")
    holes, left = 0, 0
    for old, new in zip(before.split("\r\n"), after.split("\r\n"), strict=True):
        for position, (cell, filled) in enumerate(zip(old.split(";"), new.split(";"), strict=True)):
            hole = cell in ("", "n/a", "-999") and old != ""
            left += hole and position == 3  # the column remark
            holes += hole and position != 3
            assert (filled not in ("", "n/a", "-999")) if hole and position != 3 else filled == cell
    assert holes > 90
    assert any(
        line.startswith(f"{holes} of {holes + left} empty cells filled (still empty: line 2 (remark), line 4 (remark)")
        for line in said
    )
    assert "impute.py: german.csv: cells separated by semicolons, decimal commas, thousands grouped by '.'" in said
    assert "impute.py: passed through as they are: patient, remark, split" in said
    options = {"sep": ";", "decimal": ",", "thousands": "."}
    again = pd.read_csv(folder / "german-filled.csv", **options)
    assert again["income"].dtype == again["bend"].dtype == np.float64
    intervals = pd.read_csv(folder / "german-filled-intervals.csv", sep=";", decimal=",")
    assert len(intervals) == holes
    first = intervals[intervals["column"] == "bend"].iloc[0]
    filled = again["bend"].iloc[first["line"] - 2]
    assert float(first["value"]) == pytest.approx(filled, rel=1e-5)
    assert first["low"] < first["high"]


def test_a_table_may_be_written_over(run, folder):
    path = folder / "over.csv"
    path.write_bytes((folder / "table.csv").read_bytes())
    fill(run, "--in", path, "--out", path, "--num", 2)
    fill(run, "--in", folder / "table.csv", "--out", folder / "apart.csv", "--num", 2)
    for number in ("", "-1", "-2"):
        assert (folder / f"over{number}.csv").read_text() == (folder / f"apart{number}.csv").read_text()
    assert (folder / "over-1.csv").read_text() != (folder / "over-2.csv").read_text()
    one = folder / "over-1.csv"
    with pytest.raises(ValueError, match=r"over-1\.csv would be replaced by one of several files"):
        fill(run, "--in", one, "--out", path, "--num", 1)


@pytest.mark.parametrize("suffix", [".tsv", ".CSV", ".csv.gz", ".jsonl", ".jsonl.gz", ".pq", ".xlsx"])
def test_a_table_of_any_format_is_filled_in_it(run, folder, suffix, capsys):
    if suffix == ".xlsx":
        pytest.importorskip("openpyxl", reason="Excel needs the extra tables")
    table = pd.read_csv(folder / "table.csv").iloc[:12]
    write_rows(table, folder / f"any{suffix}")
    fill(
        run,
        "--in",
        folder / f"any{suffix}",
        "--out",
        folder / f"any-filled{suffix}",
        "--num",
        1,
        "--intervals",
        0.5,
        "--proposals",
        5,
    )
    said = capsys.readouterr().out
    assert f"{table.isna().sum().sum()} cells filled, written to {folder / f'any-filled{suffix}'}" in said
    filled, draw = (read_table(folder / f"any-filled{end}{suffix}") for end in ("", "-1"))
    assert not filled.isna().any().any()
    assert not draw.isna().any().any()
    source = read_table(folder / f"any{suffix}")
    for name in table:
        known = table[name].notna().to_numpy()
        assert filled[name].to_numpy()[known].tolist() == source[name].to_numpy()[known].tolist()
    intervals = read_table(folder / f"any-filled-intervals{suffix}")
    name = "row" if suffix in (".pq", ".xlsx") else "line"
    first = {".pq": 1, ".xlsx": 2, ".jsonl": 1, ".jsonl.gz": 1}.get(suffix, 2)
    rows = table.isna().to_numpy().nonzero()[0] + first
    assert intervals[name].tolist() == rows.tolist()


def test_places_are_those_of_an_editor_with_blank_lines_and_line_breaks_in_quotes(run, folder, capsys):
    header, *lines = (folder / "table.csv").read_text().splitlines()
    whole = [line for line in lines if ",," not in line and not line.endswith(",")][:2]
    comma = "," * header.count(",")
    text = "\n".join(
        [
            "",
            f'"note\nof two lines",{header}',
            "",
            f'"a\nb",{whole[0]}',
            "",
            f"x,{comma}",
            f"y,{whole[1]}",
            f"z,{comma}",
        ]
    )
    (folder / "lines.csv").write_text(text)
    fill(
        run,
        "--in",
        folder / "lines.csv",
        "--out",
        folder / "lines-filled.csv",
        "--intervals",
        0.9,
        "--ignore",
        "note\nof two lines",
    )
    assert text.split("\n")[7] == f"x,{comma}"
    assert "no observed cell in line 8, line 10: filled" in capsys.readouterr().out
    lines = pd.read_csv(folder / "lines-filled-intervals.csv")["line"]
    assert lines.tolist() == [8] * (len(comma) + 1) + [10] * (len(comma) + 1)


def test_what_a_person_says_of_a_table_is_followed(run, folder):
    table = pd.read_csv(folder / "table.csv").iloc[:5]
    table = table.assign(more="-")[[*table.columns[::-1], "more"]]
    table.to_csv(folder / "said.csv", index=False, sep=":", decimal=",", na_rep="missing", encoding="utf-16")
    words = ["--separator", ":", "--decimal", ",", "--na-values", "missing", "--ignore", "more", "--encoding", "utf-16"]
    fill(run, "--in", folder / "said.csv", "--out", folder / "said-filled.csv", *words)
    text = (folder / "said-filled.csv").read_bytes().decode("utf-16")
    assert "missing" not in text
    assert [line.rpartition(":")[2] for line in text.split()] == ["more", *"-----"]
    with pytest.raises(ValueError, match=r"--ignore sum: .*said\.csv has the columns"):
        fill(run, "--in", folder / "said.csv", "--out", folder / "never.csv", *words, "--ignore", "sum")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.assign(group="west"), r"line 2, column group: 'west' was not seen in training"),
        (lambda t: t.assign(sum="much"), r"column sum: 'much' is not a number"),
        (lambda t: t.drop(columns="sum"), "lacks sum"),
        (lambda t: t.assign(more=1), "has more, which the model does not know.*--ignore more"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_by_name(run, folder, change, message):
    path = folder / "wrong.csv"
    change(pd.read_csv(folder / "table.csv")).to_csv(path, index=False)
    with pytest.raises(ValueError, match=message):
        fill(run, "--in", path, "--out", folder / "never.csv")
    assert not (folder / "never.csv").exists()


def test_negative_numbers_may_count_as_empty():
    words = ["--ckpt", "c", "--in", __file__, "--out", "o", "--na-values", "n/a", "-999", "--decimal", ","]
    arguments = impute_parser().parse_args(words)
    assert (arguments.na_values, arguments.decimal) == (["n/a", "-999"], ",")


def test_options_that_do_not_fit_are_refused(run, folder):
    with pytest.raises(ValueError, match=r"must be a \.csv file"):
        fill(run, "--in", folder / "table.csv", "--out", folder / "filled.parquet")
    with pytest.raises(ValueError, match="between 0 and 1"):
        fill(run, "--in", folder / "table.csv", "--out", folder / "f.csv", "--intervals", 90)


def test_rows_are_generated_from_what_a_person_knows(run, tmp_path):
    words = ["--ckpt", str(run / "checkpoints/best.ckpt"), "--condition", "group=east", "--num", "5"]
    generate(generate_parser().parse_args([*words, "--draw", "--out", str(tmp_path / "rows.csv")]))
    rows = pd.read_csv(tmp_path / "rows.csv")
    assert len(rows) == 5
    assert (rows["group"] == "east").all()
