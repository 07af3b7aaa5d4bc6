import dataclasses

import pytest
import yaml

from common.results import Measurement, Results, RunInfo
from common.training.run_report import print_report

RUN = RunInfo("id", "wine", "tabular", 0, "abc", "h0", "d0", "2026-01-01T00:00:00", 1.5, "cpu", 100.0, 42)
PRIOR = {"class_path": "common.distributions.priors.ConditionalNormal", "init_args": {"hidden": 128}}


def config(data="Wine", rate=0.3, latent_dim=8, prior=None, **others):
    data = {"class_path": f"modalities.tabular.data.{data}", "init_args": {"rate": rate, "schema": None}}
    return {"seed_everything": 0, "data": data, "model": {"latent_dim": latent_dim, "prior": prior}, **others}


@pytest.fixture
def write(tmp_path):
    """Writes a run folder: its figures, config.yaml, and what its results say of it."""

    def run(identity, metrics, configuration=None, **info):
        folder = tmp_path / identity
        figures = {name: Measurement(value, 0.1, 10, "nats", "exact") for name, value in metrics.items()}
        started = f"2026-01-01T00:00:{len(list(tmp_path.iterdir())):02d}"
        Results(dataclasses.replace(RUN, id=identity, started=started, **info), figures).write(folder / "results.json")
        if configuration is not None:
            (folder / "config.yaml").write_text(yaml.safe_dump(configuration))
        return folder

    return run


@pytest.fixture
def report(capsys):
    """The cells of each row of the printed table, by row."""

    def read(*arguments):
        print_report(*arguments)
        lines = capsys.readouterr().out.splitlines()
        return [
            [cell.strip() for cell in line.strip("│┃").replace("┃", "│").split("│")] for line in lines if "│" in line
        ]

    return read


def test_six_runs_of_one_name_on_five_data_sets_are_six_rows(tmp_path, write, report):
    settings = [("Wine", 0.3), ("Wine", 0.5), ("Digits", 0.3), ("BreastCancer", 0.3), ("Diabetes", 0.3), ("Table", 0.3)]
    for number, (data, rate) in enumerate(settings):
        info = {"config_hash": f"h{number}", "data_fingerprint": f"d{max(1, number)}"}
        write(str(number), {"test/nll": 1000.0 + number}, config(data, rate), **info)
    assert report(tmp_path) == [
        ["wine", "data=Wine, data.rate=0.3", "1000"],
        ["wine", "data=Wine, data.rate=0.5", "1001"],
        ["wine", "data=Digits, data.rate=0.3", "1002"],
        ["wine", "data=BreastCancer, data.rate=0.3", "1003"],
        ["wine", "data=Diabetes, data.rate=0.3", "1004"],
        ["wine", "data=Table, data.rate=0.3", "1005"],
    ]


def test_seeds_of_each_configuration_are_one_row_that_says_what_differs(tmp_path, write, report):
    for number, (latent_dim, seed) in enumerate([(8, 0), (16, 0), (8, 1), (16, 1), (16, 1)]):
        chosen = config(latent_dim=latent_dim) | {"seed_everything": seed, "run": {"id": number}}
        write(str(number), {"test/nll": latent_dim + 2.0 * seed}, chosen, seed=seed, config_hash=f"h{latent_dim}")
    assert report(tmp_path) == [
        ["wine", "model.latent_dim=8", "9 ± 1.4 (2)"],
        ["wine", "model.latent_dim=16", "17.33 ± 1.2 (3 runs, 2 seeds)"],
    ]


def test_what_differs_is_shown_where_a_name_has_several_rows_and_nowhere_else(tmp_path, write, report):
    write("a", {"test/nll": 1.0}, config(), name="alone")
    assert report(tmp_path) == [["alone", "1"]]
    write("b", {"test/nll": 2.0}, config(), name="two")
    write("c", {"test/nll": 3.0}, config(trainer={"max_epochs": 9}), name="two", config_hash="h1")
    assert report(tmp_path) == [
        ["alone", "", "1"],
        ["two", "trainer.max_epochs=null", "2"],
        ["two", "trainer.max_epochs=9", "3"],
    ]


def test_options_of_a_class_that_the_other_row_lacks_are_left_out(tmp_path, write, report):
    wide = PRIOR | {"init_args": {"hidden": 256}}
    write("a", {"test/nll": 1.0}, config())
    write("b", {"test/nll": 2.0}, config(prior=PRIOR), config_hash="h1")
    assert [row[1] for row in report(tmp_path)] == ["model.prior=null", "model.prior=ConditionalNormal"]
    write("c", {"test/nll": 3.0}, config(prior=wide), config_hash="h2")
    assert [row[1] for row in report(tmp_path)] == [
        "model.prior=null",
        "model.prior=ConditionalNormal, model.prior.hidden=128",
        "model.prior=ConditionalNormal, model.prior.hidden=256",
    ]


def test_callbacks_are_compared_by_class_and_lists_are_shown_as_they_are(tmp_path, write, report):
    average = [{"class_path": "common.training.averaging.WeightEMA", "init_args": {"decay": 0.99}}]
    stop = {"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": {"patience": 3}}
    slower = [stop, average[0] | {"init_args": {"decay": 0.999}}]
    write("a", {"test/nll": 1.0}, config(trainer={"callbacks": average}, subset={"hold_out": [3]}))
    write("b", {"test/nll": 2.0}, config(trainer={"callbacks": slower}, subset={"hold_out": []}), config_hash="h1")
    assert [set(row[1].split(", ")) for row in report(tmp_path)] == [
        {"trainer.callbacks.EarlyStopping=null", "trainer.callbacks.WeightEMA.decay=0.99", "subset.hold_out=[3]"},
        {
            "trainer.callbacks.EarlyStopping=EarlyStopping",
            "trainer.callbacks.WeightEMA.decay=0.999",
            "subset.hold_out=[]",
        },
    ]


def test_classes_of_the_same_name_are_shown_with_their_modules(tmp_path, write, report):
    for number, module in enumerate(["mine", "yours"]):
        chosen = config(prior={"class_path": f"{module}.Prior"})
        write(module, {"test/nll": 1.0}, chosen, config_hash=f"h{number}")
    assert [row[1] for row in report(tmp_path)] == ["model.prior=mine.Prior", "model.prior=yours.Prior"]


def test_changed_data_under_the_same_options_are_told_by_their_fingerprint(tmp_path, write, report):
    write("a", {"test/nll": 1.0}, config())
    write("b", {"test/nll": 2.0}, config(), data_fingerprint="d1")
    assert [row[1] for row in report(tmp_path)] == ["data d0", "data d1"]
    write("c", {"test/nll": 3.0}, config(latent_dim=2), config_hash="h1", data_fingerprint="d1")
    assert [row[1] for row in report(tmp_path)] == [
        "model.latent_dim=8, data d0",
        "model.latent_dim=8, data d1",
        "model.latent_dim=2, data d1",
    ]


@pytest.mark.parametrize("content", [None, "a: [", "text"])
def test_without_a_readable_configuration_rows_are_told_by_its_hash(tmp_path, write, report, content):
    for number in range(2):
        folder = write(str(number), {"test/nll": 1.0}, config_hash=f"h{number}")
        if content:
            (folder / "config.yaml").write_text(content)
    assert [row[1] for row in report(tmp_path)] == ["configuration h0", "configuration h1"]


def test_options_that_are_not_shown_leave_the_hash_to_tell_rows_apart(tmp_path, write, report):
    write("a", {"test/nll": 1.0}, config(samples={"examples": 64}))
    write("b", {"test/nll": 2.0}, config(samples={"examples": 8}), config_hash="h1")
    assert [row[1] for row in report(tmp_path)] == ["configuration h0", "configuration h1"]


def test_names_of_several_modalities_are_shown_with_them(tmp_path, write, report):
    write("a", {"test/nll": 1.0}, name="digits")
    write("b", {"test/nll": 2.0}, name="digits", modality="image")
    assert report(tmp_path) == [["tabular/digits", "1"], ["image/digits", "2"]]


def header(capsys):
    return [cell.strip() for line in capsys.readouterr().out.splitlines() if "┃" in line for cell in line.split("┃")][
        1:-1
    ]


def test_default_columns_are_the_usual_ones_that_exist(tmp_path, write, capsys):
    write("a", {"test/elbo": -3.0, "test/kl": 5.0, "test/nll": 2.6, "test/nrmse": 0.5})
    print_report(tmp_path)
    assert header(capsys) == ["run", "test/nll", "test/kl"]


def test_default_columns_are_five_that_all_results_have_where_the_usual_ones_are_missing(tmp_path, write, capsys):
    shared = ["test/nrmse", "test/mse", "test/coverage", "test/width", "test/seconds", "test/more"]
    write("a", {"test/own": 1.0} | dict.fromkeys(shared, 2.0))
    write("b", dict.fromkeys(shared, 3.0), name="other")
    print_report(tmp_path)
    assert header(capsys) == ["run", *shared[:5]]


def test_default_columns_never_fail(tmp_path, write, report):
    write("a", {}, name="empty")
    assert report(tmp_path) == [["empty"]]
    write("b", {"test/accuracy": 1.0}, name="b")
    write("c", {"test/nrmse": 0.5}, name="c")
    assert report(tmp_path) == [["empty", "-", "-"], ["b", "1", "-"], ["c", "-", "0.5"]]


def test_an_unknown_metric_is_refused_with_the_known_ones_closest_first(tmp_path, write):
    write("a", {"test/active_units": 1.0, "test/kl": 1.0, "test/nll": 1.0, "test/nll_per_bin": 1.0})
    listed = "test/nll, test/kl, test/nll_per_bin, test/active_units"
    with pytest.raises(ValueError, match=f"no result has test/nl; there are: {listed}$"):
        print_report(tmp_path, ["test/kl", "test/nl"])


def test_the_folder_of_one_run_is_printed_whole_unless_metrics_are_asked_for(tmp_path, write, capsys, report):
    folder = write("a", {"test/nll": 91.25, "test/more": 3.0}, config())
    print_report(folder)
    printed = capsys.readouterr().out
    assert "tabular / wine / a" in printed
    assert "test/more" in printed
    assert f"configuration  {folder / 'config.yaml'}" in printed
    print_report(folder, None, True)
    assert capsys.readouterr().out == printed
    assert report(folder, ["test/nll"]) == [["wine", "91.25"]]


def test_an_unfinished_run_is_printed_when_it_is_asked_for(tmp_path, capsys):
    (tmp_path / "config.yaml").write_text("{}")
    print_report(tmp_path, None, True)
    assert capsys.readouterr().out.split() == ["configuration", str(tmp_path / "config.yaml")]


def test_folders_without_results_are_refused_in_one_line_that_says_what_to_do(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    for arguments, message in [
        ((tmp_path / "none",), "none does not exist: name the folder of one run, or one that holds runs"),
        ((file,), "file is not a folder: name the folder of one run"),
        ((tmp_path,), "no results.json below .*: a training writes one .*train_<modality>.py test"),
        ((tmp_path, None, True), "is not the folder of a run: name the one that holds config.yaml"),
    ]:
        with pytest.raises(ValueError, match=message) as error:
            print_report(*arguments)
        assert "\n" not in str(error.value)
