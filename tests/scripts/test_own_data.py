"""A trained model in other people's hands, in every modality: other data, more epochs, new classes, new files."""

import importlib
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from common.results import Results
from common.training.restore import restore
from modalities.tabular import TabularCVAE
from tests.scripts.own_data import OWN

IMAGES = pytest.mark.parametrize("trained", OWN[:1], indirect=True, ids=["image"])  # where modalities cannot differ
KINDS = {"low": "calm", "high": "wild"}
COUNT = 30


class Trained:
    """A model of one modality, trained on a person's own data for two epochs."""

    def __init__(self, own, folder):
        self.own, self.folder = own, folder
        self.main = importlib.import_module(f"scripts.train_{own.modality}").main
        self.data = own.write(folder / "data", KINDS, COUNT)
        self.fit = self.run("fit", "--data.root", self.data, "--run.id", "first")
        self.run_folder = self.fit.folder
        self.last, self.best = (self.run_folder / "checkpoints" / f"{name}.ckpt" for name in ("last", "best"))

    def run(self, verb, *words):
        place = ["--run.root", str(self.folder / "runs")] if verb == "fit" else []
        return self.main([verb, *self.own.options, *place, "--trainer.max_epochs", "2", *map(str, words)])

    def scores(self, data, *words):
        """The table of `predict` on some data."""
        before = {path: path.stat().st_mtime_ns for path in self.run_folder.glob("predictions*.csv")}
        self.run("predict", "--data.root", data, "--ckpt_path", self.best, *words)
        now = {path: path.stat().st_mtime_ns for path in self.run_folder.glob("predictions*.csv")}
        (written,) = now.items() - before.items()
        return pd.read_csv(written[0])


@pytest.fixture(scope="module", params=OWN, ids=lambda own: own.modality)
def trained(request, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp(request.param.modality)
        patch.setenv("SUITE_CACHE", str(folder / "cache"))
        yield Trained(request.param, folder)


def test_every_example_is_scored_with_its_origin_condition_and_units(trained):
    table = trained.scores(trained.data)
    assert len(table) == 2 * COUNT
    assert table["elbo_nats"].notna().all()
    torch.testing.assert_close(
        torch.tensor(table["elbo_nats"]),
        torch.tensor(table["reconstruction_nats"] - table["kl_nats"]),
        rtol=1e-3,
        atol=1e-2,
    )
    if trained.own.kind == "file":
        assert table["file"].map(lambda name: Path(name).is_file()).all()
        assert table["file"].is_unique
    else:
        assert sorted(table["row"]) == list(range(1, 2 * COUNT + 1))
    if trained.own.condition:
        assert table[trained.own.condition].value_counts().to_dict() == {"calm": COUNT, "wild": COUNT}
    if trained.own.modality == "audio":
        ratio = table["elbo_nats"] / table["seconds"]
        assert table["elbo_nats_per_second"].tolist() == pytest.approx(ratio.tolist())


def test_five_new_examples_are_scored(trained):
    new = trained.own.write(trained.folder / "new", {"low": "calm"}, 5)
    table = trained.scores(new)
    assert len(table) == 5
    assert set(table.columns) >= {trained.own.kind, "elbo_nats", "kl_nats"}


def test_data_that_have_grown_are_read_in_the_terms_of_the_model(trained):
    grown = trained.own.write(trained.folder / "grown", KINDS, COUNT, more=COUNT)
    before, after = trained.scores(trained.data), trained.scores(grown)
    assert len(after) == 2 * len(before)
    own = restore(trained.best)
    learned = own.data(trained.run_folder / "config.yaml").describe()["learned"]
    config = yaml.safe_load((trained.run_folder / "config.yaml").read_text())
    config["data"]["init_args"]["root"] = str(grown)
    path = trained.folder / "other.yaml"
    path.write_text(yaml.safe_dump(config))
    read = own.data(path).describe()["learned"]
    assert read == learned  # tokenizer, categories, statistics, features, kinds of columns
    if trained.own.modality == "text":  # whose first rows are the same, in the same order, with the same noise
        assert after["elbo_nats"][: 2 * COUNT].tolist() == pytest.approx(before["elbo_nats"].tolist(), rel=1e-5)


def test_other_names_are_refused_with_both_lists_or_mapped(trained):
    if trained.own.condition:
        other = trained.own.write(trained.folder / "renamed", {"low": "quiet", "high": "unruly"}, COUNT)
        message = r"does not know .*quiet.* it knows: calm, wild; the data has: quiet, unruly"
        names = "[quiet=calm,unruly=wild]"
    else:
        other = trained.folder / "renamed.csv"
        pd.read_csv(trained.data).rename(columns={"a": "alpha"}).to_csv(other, index=False)
        message, names = r"lacks a and has alpha besides: the checkpoint's model knows a, b, kind", "alpha=a"
    with pytest.raises(ValueError, match=message):
        trained.scores(other)
    mapped = trained.scores(other, "--data.map", names)
    assert mapped["elbo_nats"].tolist() == pytest.approx(trained.scores(trained.data)["elbo_nats"].tolist(), rel=1e-5)


def test_a_class_keeps_its_meaning_where_it_is_the_only_one(trained):
    alone = trained.own.write(trained.folder / "alone", {"high": "wild"}, 6)
    table = trained.scores(alone)
    assert len(table) == 6
    if trained.own.condition:
        assert set(table[trained.own.condition]) == {"wild"}


def test_weights_start_a_training_with_more_classes_in_a_run_of_its_own(trained, caplog):
    more = trained.own.write(trained.folder / "more", {"noise": "airy", **KINDS}, COUNT)
    kept = {path: path.read_bytes() for path in trained.run_folder.rglob("*.*") if path.is_file()}
    cli = trained.run("fit", "--data.root", more, "--weights", trained.best, "--run.name", "finetuned",
                      "--trainer.max_epochs", "1")  # fmt: skip
    assert cli.folder.parent.name == "finetuned"
    assert {path: path.read_bytes() for path in kept} == kept
    state = torch.load(cli.folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["parent"] == str(trained.best)
    assert state["epoch"] == 0
    assert state["configuration"]["weights"] == str(trained.best)
    model = restore(cli.folder / "checkpoints" / "last.ckpt").model
    if trained.own.condition:
        assert model.condition.attributes[trained.own.condition].values == ("calm", "wild", "airy")
    else:
        assert next(c for c in model.columns if c.name == "kind").values == ("calm", "wild", "airy")


@IMAGES
def test_more_epochs_go_on_at_the_rate_of_a_run_of_the_new_length(trained):
    def rates(cli):
        table = pd.read_csv(cli.folder / "metrics.csv")
        name = "train/learning_rate"
        return table.dropna(subset=[name]).groupby("step")[name].last()

    words = ["--data.root", trained.data, "--trainer.log_every_n_steps", "1"]
    first = trained.run("fit", *words, "--run.name", "resumed", "--run.id", "a", "--trainer.max_epochs", "1")
    steps = first.trainer.global_step
    last = first.folder / "checkpoints" / "last.ckpt"
    longer = trained.run("fit", *words, "--run.name", "resumed", "--ckpt_path", last, "--trainer.max_epochs", "3")
    assert longer.folder == first.folder
    whole = trained.run("fit", *words, "--run.name", "whole", "--trainer.max_epochs", "3")
    resumed, uninterrupted = rates(longer), rates(whole)
    if trained.own.modality == "tabular":  # whose configuration has no schedule
        assert resumed.tolist() == pytest.approx([5e-4] * len(resumed))
    else:
        assert resumed[steps - 1] != uninterrupted[steps - 1]
    assert resumed.loc[steps:].tolist() == pytest.approx(uninterrupted.loc[steps:].tolist(), rel=1e-6)
    # With smaller batches, every further step trains as well.
    batch = "--data.batch_tokens" if trained.own.modality == "text" else "--data.batch_size"
    size = "100" if trained.own.modality == "text" else "4"
    smaller = trained.run("fit", *words, "--run.name", "resumed", "--ckpt_path", last, "--trainer.max_epochs", "4",
                          batch, size)  # fmt: skip
    assert (rates(smaller).iloc[-5:] > 0).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seed_everything", "5"], r"seed_everything was 0, is 5"),
        (["--run.name", "other"], r"--run\.name is other.*--weights"),
        (["--run.root", "elsewhere"], r"--run\.root is .*elsewhere.*--weights"),
        (["--weights", "other.ckpt"], r"--weights other\.ckpt begins one: give one of them"),
        (["--trainer.max_epochs", "1"], r"has reached 2 with trainer\.max_epochs 1"),
    ],
)
@IMAGES
def test_a_resume_that_is_another_training_is_refused_and_nothing_is_written(trained, words, message):
    before = written(trained.folder)
    with pytest.raises(ValueError, match=message):
        trained.run("fit", "--data.root", trained.data, "--ckpt_path", trained.last, *words)
    assert written(trained.folder) == before


def test_a_resume_with_another_model_is_refused_and_nothing_is_written(trained):
    before = written(trained.folder)
    with pytest.raises(ValueError, match=r"model\.latent_dim was \d+, is 64.*--weights"):
        trained.run("fit", "--data.root", trained.data, "--ckpt_path", trained.last, "--model.latent_dim", "64")
    assert written(trained.folder) == before


def written(folder):
    """The files of a folder with the time of their last change."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_resume_on_other_data_is_refused(trained):
    other = trained.own.write(trained.folder / "other", KINDS, COUNT - 2)
    with pytest.raises(ValueError, match=r"trained on other data \(fingerprint .*--weights"):
        trained.run("fit", "--data.root", other, "--ckpt_path", trained.last, "--trainer.max_epochs", "3")


@IMAGES
def test_an_id_with_a_finished_run_is_refused(trained):
    with pytest.raises(ValueError, match=r"first is another run's \(checkpoints.*--ckpt_path"):
        trained.run("fit", "--data.root", trained.data, "--run.id", "first")


def test_a_test_of_other_data_goes_beside_the_results_of_the_run(trained):
    quick = ["--trainer.limit_test_batches", "1", "--model.evaluation.num_samples", "3", "--ckpt_path", trained.best,
             "--model.evaluation.gain_examples", "2", "--model.evaluation.judge_steps", "2"]  # fmt: skip
    cli = trained.run("test", "--data.root", trained.data, *quick)
    assert cli.folder.parent == trained.run_folder / "tests"
    assert (cli.folder / "results.json").exists()
    assert not (trained.run_folder / "results.json").exists()
    again = trained.run("test", "--data.root", trained.data, *quick, "--run.root", trained.folder / "apart")
    assert again.folder.is_relative_to(trained.folder / "apart")


@IMAGES
def test_last_is_found_by_name_and_id(trained, capsys):
    trained.run("fit", "--data.root", trained.data, "--run.id", "first", "--ckpt_path", "last")
    assert f"--ckpt_path last is {trained.last}" in capsys.readouterr().out


@IMAGES
def test_an_untrained_model_is_not_tested(trained):
    with pytest.raises(ValueError, match="test needs a trained model"):
        trained.run("test", "--data.root", trained.data)


@IMAGES
def test_two_trainings_in_one_process_have_two_folders(trained):
    words = ["--data.root", trained.data, "--trainer.max_epochs", "1", "--run.name", "twice"]
    folders = {trained.run("fit", *words).folder for _ in range(2)}
    assert len(folders) == 2
    assert "CVAE_SUITE_RUN_ID" not in os.environ


def test_a_checkpoint_outside_of_its_run_goes_on_in_a_run_of_its_own(trained, tmp_path):
    copied = tmp_path / "copied.ckpt"
    shutil.copy(trained.last, copied)
    before = {path: path.read_bytes() for path in trained.run_folder.rglob("*.ckpt")}
    with pytest.raises(ValueError, match="is another run's"):
        trained.run("fit", "--data.root", trained.data, "--ckpt_path", copied, "--run.id", "first")
    assert {path: path.read_bytes() for path in trained.run_folder.rglob("*.ckpt")} == before
    cli = trained.run("fit", "--data.root", trained.data, "--ckpt_path", copied, "--trainer.max_epochs", "3")
    assert cli.folder != trained.run_folder
    assert (cli.folder / "checkpoints" / "last.ckpt").exists()


@IMAGES
def test_scores_of_another_checkpoint_or_of_other_data_take_no_others_place(trained, tmp_path):
    own = trained.run_folder / "predictions.csv"
    trained.run("predict", "--data.root", trained.data, "--ckpt_path", trained.best)
    before = own.read_bytes()
    trained.run("predict", "--data.root", trained.data, "--ckpt_path", trained.last)
    (of_last,) = trained.run_folder.glob("predictions-last-*.csv")
    new = trained.own.write(tmp_path / "new", {"low": "calm"}, 5)
    trained.run("predict", "--data.root", new, "--ckpt_path", trained.best)
    assert any(len(pd.read_csv(path)) == 5 for path in trained.run_folder.glob("predictions-best-*.csv"))
    assert own.read_bytes() == before
    assert len(pd.read_csv(of_last)) == 2 * COUNT


@IMAGES
def test_the_seed_of_results_is_that_of_the_training(trained):
    cli = trained.run("test", "--data.root", trained.data, "--ckpt_path", trained.best, "--seed_everything", "7")
    assert Results.read(cli.writer.path).run.seed == 0


@IMAGES
def test_a_checkpoint_of_another_modality_is_refused(trained, tmp_path):
    table = OWN[3]
    data = table.write(tmp_path / "table", KINDS, COUNT)
    other = importlib.import_module("scripts.train_tabular").main
    for words in (["fit", "--weights"], ["test", "--ckpt_path"]):
        with pytest.raises(ValueError, match="is a ImageCVAE, and this script trains a TabularCVAE"):
            other([words[0], *table.options, "--data.root", str(data), words[1], str(trained.best)])
    with pytest.raises(ValueError, match="is a ImageCVAE, not a TabularCVAE"):
        TabularCVAE.load_from_checkpoint(trained.best)


def test_a_class_without_a_training_example_does_not_keep_a_run_from_going_on(tmp_path):
    own = OWN[0]
    for split, kinds in (("train", KINDS), ("val", KINDS), ("test", {**KINDS, "noise": "strange"})):
        own.write(tmp_path / "data" / split, kinds, 12)
    main = importlib.import_module("scripts.train_image").main
    known = [*own.options, "--data.root", str(tmp_path / "data"), "--run.root", str(tmp_path / "runs")]
    cli = main(["fit", *known, "--trainer.max_epochs", "1", "--run.id", "first"])
    assert cli.datamodule.attributes["class"].untrained == ("strange",)
    last = str(cli.folder / "checkpoints" / "last.ckpt")
    again = main(["fit", *known, "--trainer.max_epochs", "2", "--ckpt_path", last])
    assert again.trainer.current_epoch == 2
    assert restore(last).model.condition.attributes["class"].untrained == ("strange",)
