"""Tables by name: those of scikit-learn, and those of openml.org from a folder that holds what was downloaded."""

import gzip
import hashlib
import json
from urllib.error import URLError

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn.datasets
from sklearn.datasets import _openml

from common.results import Results
from modalities.tabular.data import OpenML, ScikitLearn
from scripts.impute import impute
from scripts.impute import parser as impute_parser

QUICK = ["--wandb.mode", "disabled", "--trainer.max_epochs", "1", "--model.evaluation.num_samples", "5"]
SMALL = ["--model.hidden", "8", "--model.condition.init_args.width", "4", "--model.latent_dim", "2"]


def shops(count=120):
    """A table with a number, a category with gaps, a count and a target."""
    generator = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "id": range(1, count + 1),
            "size": generator.normal(50, 9, count).round(2),
            "kind": [("tea", "toys", "books", None)[row % 4] for row in range(count)],
            "visits": generator.poisson(20, count),
            "open": [("yes", "no")[row % 3 == 0] for row in range(count)],
        }
    )


def write_openml(home):
    """What scikit-learn stores of the table `shops`, number 7, of openml.org."""
    table = shops()
    kinds = {"kind": "{tea,toys,books}", "open": "{yes,no}"}
    lines = [f"@ATTRIBUTE {name} {kinds.get(name, 'REAL')}" for name in table]
    rows = ["?" if pd.isna(cell) else str(cell) for row in table.itertuples(index=False) for cell in row]
    rows = [",".join(rows[start : start + 5]) for start in range(0, len(rows), 5)]
    arff = "\n".join(["@RELATION shops", *lines, "@DATA", *rows, ""]).encode()
    features = [
        {"index": str(index), "name": name, "data_type": "nominal" if name in kinds else "numeric",
         "is_target": str(name == "open").lower(), "is_row_identifier": str(name == "id").lower(),
         "is_ignore": "false", "number_of_missing_values": str(table[name].isna().sum())}
        for index, name in enumerate(table)
    ]  # fmt: skip
    description = {
        "id": "7", "name": "shops", "version": "1", "format": "ARFF", "status": "active", "description": "Shops.",
        "md5_checksum": hashlib.md5(arff).hexdigest(), "url": "https://www.openml.org/data/v1/download/9/shops.arff",
    }  # fmt: skip
    found = {"data": {"dataset": [{"did": 7, "name": "shops", "version": 1, "status": "active"}]}}
    stored = {
        "api/v1/json/data/list/data_name/shops/limit/2/status/active/": found,
        "api/v1/json/data/list/data_name/shops/limit/2/data_version/1": found,
        "api/v1/json/data/7": {"data_set_description": description},
        "api/v1/json/data/features/7": {"data_features": {"feature": features}},
        "api/v1/json/data/qualities/7": {
            "data_qualities": {"quality": [{"name": "NumberOfInstances", "value": str(len(table))}]}
        },
        "data/v1/download/9/shops.arff": arff,
    }
    for name, content in stored.items():
        file = home / "openml" / "openml.org" / f"{name}.gz"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(gzip.compress(content if isinstance(content, bytes) else json.dumps(content).encode()))
    return home


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def unreachable(*_, **__):
        raise URLError("no route to host")

    monkeypatch.setattr(_openml, "urlopen", unreachable)
    monkeypatch.setattr(_openml.time, "sleep", lambda _: None)


def kinds_of(data):
    return {column.name: column.kind for column in data.columns}


def test_tables_of_scikit_learn_have_their_target_as_a_column():
    iris = ScikitLearn("iris", batch_size=50)
    assert kinds_of(iris)["target"] == "categorical"
    assert iris.columns[-1].values == ("setosa", "versicolor", "virginica")
    assert {name: len(rows) for name, rows in iris.examples.splits.items()} == {"train": 105, "val": 15, "test": 30}
    assert iris.examples.x.shape == (150, 5)
    assert kinds_of(ScikitLearn("breast_cancer"))["target"] == "binary"
    assert len(ScikitLearn("linnerud", shares=(0.2, 0.2)).columns) == 6
    diabetes = ScikitLearn("diabetes", drop=["s1"], map="target=progression", target=["target"])
    assert "s1" not in kinds_of(diabetes)
    assert kinds_of(diabetes)["age"] == "count"  # in years, as they are
    test = diabetes.examples.fields["observed"][diabetes.examples.splits["test"]]
    assert test[:, list(kinds_of(diabetes)).index("progression")].isnan().all()


def test_unknown_names_are_answered_with_those_that_there_are():
    with pytest.raises(ValueError, match=r"no table titanic; it has breast_cancer, california_housing, .*, wine"):
        _ = ScikitLearn("titanic").columns
    with pytest.raises(ValueError, match=r"data\.drop: scikit-learn's wine has no column id; it has: alcohol"):
        _ = ScikitLearn("wine", drop=["id"]).columns


def test_a_table_that_was_downloaded_needs_no_network_and_another_says_so(tmp_path, monkeypatch):
    cells = np.random.default_rng(0).uniform(1, 9, (200, 9))
    joblib.dump(cells, tmp_path / "cal_housing_py3.pkz")
    data = ScikitLearn("california_housing", home=tmp_path)
    assert data.examples.x.shape == (200, 9)
    assert data.columns[-1].name == "MedHouseVal"

    def fetch(*, data_home=None, as_frame=False):
        raise URLError("no route to host")

    monkeypatch.setattr(sklearn.datasets, "fetch_california_housing", fetch)
    with pytest.raises(OSError, match=r"scikit-learn's california_housing cannot be downloaded \(no route to host\)"):
        _ = ScikitLearn("california_housing", home=tmp_path / "empty").columns


def test_a_table_of_openml_is_read_by_name_or_number(tmp_path):
    home = write_openml(tmp_path)
    data = OpenML("shops", home=home, rate=0.0)
    assert kinds_of(data) == {"size": "continuous", "kind": "categorical", "visits": "count", "open": "binary"}
    assert data.examples.x[:, 1].isnan().sum() == 30
    assert f"{data.examples.x[:, 2].mean():.3f}" == f"{shops()['visits'].mean():.3f}"
    for other in (OpenML(data_id=7, home=home, rate=0.0), OpenML("shops", version=1, home=home, rate=0.0)):
        assert other.fingerprint == data.fingerprint
    with pytest.raises(ValueError, match=r"data\.name .* or data\.data_id says which table"):
        OpenML("shops", 7)


@pytest.mark.filterwarnings("ignore:A network error")
def test_without_a_network_one_line_says_what_to_do(tmp_path):
    with pytest.raises(ConnectionError, match=r"OpenML's adult cannot be downloaded \(no route to host\)") as refusal:
        _ = OpenML("adult", home=tmp_path).columns
    assert "\n" not in str(refusal.value)
    assert "name a folder with data.home, or $SCIKIT_LEARN_DATA" in str(refusal.value)


def test_a_table_by_name_is_trained_tested_and_imputed_from_its_checkpoint(tmp_path, train_tabular):
    home, runs = write_openml(tmp_path / "home"), tmp_path / "runs"
    words = ["--config", "configs/tabular/openml.yaml", "--data.name", "shops", "--data.home", home, *QUICK, *SMALL]
    train_tabular("fit", *words, "--run.root", runs)
    (folder,) = (runs / "tabular/openml").iterdir()
    fitted = Results.read(folder / "results.json").metrics["test/nll"].value
    (folder / "results.json").unlink()
    train_tabular("test", "--config", folder / "config.yaml", "--ckpt_path", folder / "checkpoints/best.ckpt")
    assert Results.read(next(runs.rglob("results.json"))).metrics["test/nll"].value == pytest.approx(fitted, abs=1e-4)
    shops().drop(columns="id").to_csv(tmp_path / "gaps.csv", index=False)
    checkpoint, filled = folder / "checkpoints/best.ckpt", tmp_path / "filled.csv"
    impute(
        impute_parser().parse_args(
            ["--ckpt", f"{checkpoint}", "--in", f"{tmp_path / 'gaps.csv'}", "--out", f"{filled}"]
        )
    )
    kinds = pd.read_csv(filled)["kind"]
    assert set(kinds) == {"tea", "toys", "books"}
    assert kinds[shops()["kind"].notna()].tolist() == shops()["kind"].dropna().tolist()
