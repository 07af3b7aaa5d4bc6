"""scripts/report.py with --out: a page of runs, tables and studies. The printed table has tests of its own."""

import json
import re

import pytest

from common.evaluation.media_files import read_media
from scripts import report

FIT = ["fit", "--config", "configs/image/digits.yaml", "--config", "configs/trainer/debug.yaml"]


@pytest.fixture(scope="module")
def trained(train_image, tmp_path_factory):
    """The folder of a run of the digits with its pictures."""
    root = tmp_path_factory.mktemp("runs")
    train_image(*FIT, "--run.root", root, "--trainer.max_epochs", 2, "--samples.every_n_epochs", 1,
                "--samples.max_share", 1)  # fmt: skip
    return next(root.rglob("results.json")).parent


def data_of(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(), re.DOTALL)[1])


def test_a_trained_run_has_its_curves_figures_and_pictures_on_one_page(trained, tmp_path, capsys):
    assert report.main([str(trained), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    page = tmp_path / "out/index.html"
    assert printed.out.startswith(f"{page} (")
    assert printed.err == ""
    curves = {curve["metric"]: curve["lines"] for curve in data_of(page)["curves"]}
    rows = (trained / "metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("val/elbo")
    values = [float(row.split(",")[column]) for row in rows[1:] if row.split(",")[column]]
    assert curves["val/elbo"][0]["value"] == pytest.approx(values, rel=1e-5)
    text = page.read_text()
    nll = json.loads((trained / "results.json").read_text())["metrics"]["test/nll"]
    assert f">{nll['estimator']}<" in text
    films = dict(re.findall(r'data-film="([^"]+)".*?data-moments="([^"]+)"', text, re.DOTALL))
    pictures = {file.name for file in read_media(trained / "samples") if file.kind == "picture"}
    assert {"reconstructions", "latent-map-digit"} <= pictures
    assert pictures <= set(films)
    assert "epoch 2" in films["reconstructions"]


def test_media_take_no_more_than_they_may(trained, tmp_path):
    sizes = {}
    for megabytes in ("0.1", "11"):
        assert report.main([str(trained), "--out", str(tmp_path / megabytes), "--media", megabytes]) == 0
        sizes[megabytes] = (tmp_path / megabytes / "index.html").stat().st_size
    text = (tmp_path / "0.1/index.html").read_text()
    assert sum(map(len, re.findall(r"data:image/[a-z]+;base64,[^\"]+", text))) <= 100_000
    assert sizes["0.1"] < sizes["11"]


def test_a_damaged_file_is_named_in_a_line_and_the_page_is_written(trained, tmp_path, capsys):
    broken = tmp_path / "runs/image/digits/broken"
    (broken / "samples").mkdir(parents=True)
    (broken / "metrics.csv").write_text("nothing")
    (broken / "results.json").write_bytes((trained / "results.json").read_bytes()[:300])
    assert report.main([str(trained), str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert f"{broken / 'results.json'}: ValueError:" in lines[0]
    assert lines[1] == f"{broken / 'metrics.csv'}: ValueError: has no column step; not shown: the curves"
    assert len(data_of(tmp_path / "out/index.html")["runs"]) == 2


def test_a_table_and_a_study_are_on_the_page_with_the_runs_that_are_here(tmp_path, capsys, monkeypatch, trained):
    words = ["--table", "mnist", "--study", "digits-conditions", "--out", str(tmp_path)]
    monkeypatch.setattr(report, "TABLE_RUNS", (tmp_path / "none",))
    assert report.main(words) == 0
    text = (tmp_path / "index.html").read_text()
    assert "<h1>2 tables and studies</h1>" in text
    assert re.search(r"Curves, options and samples of (\d+) of \1 runs are not on this machine", text)
    assert "What each condition gains" in text
    assert report.main([str(trained), *words]) == 0
    assert [run["label"] for run in data_of(tmp_path / "index.html")["runs"]] == ["digits"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name the folder of a run, or one that holds runs"),
        (["--out", "OUT"], "name a run, a folder of runs, --table or --study"),
        (["--table", "mnist"], "--table, --study, --title, --media are of a page: add --out FOLDER"),
        (["nowhere", "--out", "OUT"], "nowhere does not exist: name the folder of a run"),
        (["nowhere", "--out", "OUT", "--run"], "--metrics and --run are of the printed table"),
        (["--table", "minst", "--out", "OUT"], "there is no table configs/tables/minst.yaml; in configs/tables: audio"),
        (["--table", "mnist:tiny", "--out", "OUT"], "docs/tables/mnist.tiny.json does not exist"),
        (
            ["--study", "digit", "--out", "OUT"],
            "there is no study docs/studies/digit.json; in docs/studies: complexity",
        ),
        (["--out", "pyproject.toml"], "pyproject.toml is a file: name a folder"),
    ],
)
def test_mistakes_are_named_in_one_line(words, message, tmp_path, capsys):
    words = [str(tmp_path / "out") if word == "OUT" else word for word in words]
    try:
        status = report.main(words)
    except SystemExit as ending:
        status = ending.code
    printed = capsys.readouterr().err
    assert (status, printed.count("\n")) == (2, 1)
    assert message in printed
    assert not (tmp_path / "out").exists()


def test_without_out_the_table_is_printed(trained, capsys):
    assert report.main([str(trained.parent), "--metrics", "test/nll"]) == 0
    value = json.loads((trained / "results.json").read_text())["metrics"]["test/nll"]["value"]
    assert f"{value:.4g}" in capsys.readouterr().out
