"""The tabular scripts as a person uses them: train, test, fill a file, generate rows."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.results import Results
from common.training.module import ConditionalELBO
from modalities.tabular import TabularCVAE
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
    assert "no observed cell in row 2" in capsys.readouterr().out
    assert not pd.read_csv(folder / "empty-filled.csv").isna().any().any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.assign(group="west"), r"row 1, column group: 'west' was not seen in training"),
        (lambda t: t.assign(sum="much"), r"column sum: 'much' is not a number"),
        (lambda t: t.drop(columns="sum"), "lacks sum"),
        (lambda t: t.assign(more=1), "has more, which the model does not know"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_by_name(run, folder, change, message):
    path = folder / "wrong.csv"
    change(pd.read_csv(folder / "table.csv")).to_csv(path, index=False)
    with pytest.raises(ValueError, match=message):
        fill(run, "--in", path, "--out", folder / "never.csv")
    assert not (folder / "never.csv").exists()


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
