"""What a training shows: a narrow bar in a terminal, one line an epoch in a file."""

import logging
import re
import sys

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelSummary, RichProgressBar
from torch.utils.data import DataLoader

from common.batch import Batch
from common.training.model_summary import ParameterCounts
from common.training.progress import Progress, console
from tests.common.models import PointCVAE

BATCHES = 5


class ManyMetrics(Callback):
    """Logs more beside the bar than fits into 80 columns."""

    def on_validation_epoch_end(self, trainer, pl_module):
        for number in range(8):
            pl_module.log(f"val/some_long_name_of_a_metric_{number}", 12345.678, prog_bar=True)


class Losses(Callback):
    """The loss of each step."""

    def __init__(self):
        self.values = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.values.append(float(trainer.callback_metrics["train/loss"]))


def loader(count):
    batches = [Batch(torch.randn(4, 3), {}, index=torch.arange(4)) for _ in range(count)]
    return DataLoader(batches, batch_size=None)


def fit(folder, *callbacks, **options):
    settings = {
        "max_epochs": 2,
        "accelerator": "cpu",
        "logger": False,
        "log_every_n_steps": 1,
        "enable_checkpointing": False,
        **options,
    }
    trainer = Trainer(default_root_dir=folder, callbacks=[*callbacks, *console(callbacks)], **settings)
    trainer.fit(PointCVAE(latent_dim=2), loader(BATCHES), loader(2))
    return trainer


@pytest.fixture
def terminal(monkeypatch, capsys):
    """Makes the captured stdout a terminal of a width, and returns what one would see, line by line."""

    def make(columns):
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)

    def shown():
        plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", capsys.readouterr().out)
        return re.split(r"[\r\n]+", plain)

    return make, shown


def test_a_file_gets_one_line_an_epoch_with_steps_loss_elbo_and_seconds(tmp_path, capsys):
    losses = Losses()
    trainer = fit(tmp_path, losses, ManyMetrics())
    lines = [line for line in capsys.readouterr().out.splitlines() if "epoch" in line.lower()]
    assert len(lines) == 2
    for number, line in enumerate(lines):
        found = re.fullmatch(r"epoch (\d)/2: 5 steps, train loss (\S+), val elbo (\S+), \d+\.\d s", line)
        assert int(found[1]) == number + 1
        mean = torch.tensor(losses.values[BATCHES * number : BATCHES * (number + 1)]).mean()
        assert float(found[2]) == pytest.approx(float(mean), rel=1e-4)
    assert float(found[3]) == pytest.approx(float(trainer.callback_metrics["val/elbo"]), rel=1e-4)


def test_a_file_gets_no_carriage_return_and_nothing_else_than_summary_and_epochs(tmp_path, capsys):
    fit(tmp_path)
    out = capsys.readouterr().out
    assert "\r" not in out
    assert [line.split()[0] for line in out.splitlines()[-3:]] == ["25", "epoch", "epoch"]


def test_the_mean_loss_is_that_of_whole_batches_where_gradients_are_accumulated(tmp_path, capsys):
    losses = Losses()
    fit(tmp_path, losses, accumulate_grad_batches=2, max_epochs=1)
    found = re.search(r"train loss (\S+),", capsys.readouterr().out)
    assert float(found[1]) == pytest.approx(sum(losses.values) / BATCHES, rel=1e-4)


def test_an_epoch_without_validation_reports_no_old_elbo(tmp_path, capsys):
    fit(tmp_path, check_val_every_n_epoch=2, max_epochs=3)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert ["val elbo" in line for line in lines] == [False, True, False]


def test_a_training_without_a_number_of_epochs_counts_them(tmp_path, capsys):
    fit(tmp_path, max_epochs=-1, max_steps=7)
    assert re.findall(r"epoch \S+ \d steps", capsys.readouterr().out) == ["epoch 1: 5 steps", "epoch 2: 2 steps"]


def test_a_finished_training_that_goes_on_says_so(tmp_path, capsys):
    class Saved(Callback):
        def on_validation_end(self, trainer, pl_module):
            trainer.save_checkpoint(tmp_path / "last.ckpt")

    fit(tmp_path, Saved())
    capsys.readouterr()
    again = Trainer(default_root_dir=tmp_path, callbacks=console([]), max_epochs=2, accelerator="cpu", logger=False)
    again.fit(PointCVAE(latent_dim=2), loader(BATCHES), loader(2), ckpt_path=tmp_path / "last.ckpt")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert lines == ["epoch 2/2 was finished: nothing is left to train"]


def test_a_file_says_that_a_test_begins(tmp_path, capsys):
    trainer = fit(tmp_path)
    capsys.readouterr()
    trainer.test(trainer.lightning_module, loader(1), verbose=False)
    assert capsys.readouterr().out.splitlines()[0] == "testing"


@pytest.mark.parametrize(("columns", "widest"), [(200, 80), (80, 80), (60, 60)])
def test_the_bar_fits_the_terminal_and_80_columns_with_loss_and_elbo_alone(tmp_path, terminal, columns, widest):
    make, shown = terminal
    make(columns)
    fit(tmp_path, ManyMetrics())
    lines = shown()
    assert max(map(len, lines)) <= widest
    bar = next(line for line in reversed(lines) if line.startswith("Epoch 2/2: 100%"))
    assert re.search(r"5/5 \[.*, loss=[\d.]+, val elbo=-[\d.]+\]$", bar) or columns < 80
    assert not any("some_long_name" in line or line.startswith("epoch") for line in lines)


def test_the_bar_is_drawn_a_few_times_a_second_and_at_the_end(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("common.training.progress.time.monotonic", lambda: now[0])
    monkeypatch.setattr(Progress, "is_enabled", True)
    bar = Progress()
    drawn = []
    for step in range(1, 101):
        now[0] += 0.02
        drawn.append(bar._should_update(step, 100))
    assert 15 <= sum(drawn) <= 25
    assert drawn[-1]


def test_what_a_callback_prints_is_shown_with_and_without_a_terminal(tmp_path, capsys, terminal):
    class Speaks(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            trainer.print("half of it", "done")

    fit(tmp_path, Speaks(), max_epochs=1)
    assert "half of it done\n" in capsys.readouterr().out
    make, shown = terminal
    make(80)
    fit(tmp_path, Speaks(), max_epochs=1)
    assert any("half of it done" in line for line in shown())


def test_other_processes_than_the_first_are_silent(capsys):
    bar = Progress()
    bar.disable()
    bar._line("epoch 1")
    bar.print("something")
    assert not capsys.readouterr().out


def test_a_configured_bar_or_summary_and_the_trainers_switches_are_respected():
    assert [type(callback) for callback in console([])] == [Progress, ParameterCounts]
    assert [type(callback) for callback in console([RichProgressBar()])] == [ParameterCounts]
    assert [type(callback) for callback in console([ModelSummary()])] == [Progress]
    assert console([], bar=False, summary=False) == []


def test_the_summary_names_each_part_with_its_size_and_nothing_useless(tmp_path, capsys, caplog):
    with caplog.at_level(logging.INFO):
        fit(tmp_path)
    out = capsys.readouterr().out
    assert re.search(r"^  encoder +Linear +16$", out, re.MULTILINE)
    assert re.search(r"^  decoder +Linear +9$", out, re.MULTILINE)
    assert "FLOPs" not in out + caplog.text
    assert "train mode" not in out + caplog.text
    assert max(map(len, out.splitlines())) <= 80


def test_the_summary_says_how_much_is_not_trained(capsys):
    columns = [("Name", ["a"]), ("Type", ["Linear"]), ("Params", ["1.5 K"]), ("FLOPs", ["0"])]
    ParameterCounts.summarize(columns, 1500, 1000, 0.1, {}, total_flops=0)
    assert capsys.readouterr().out.splitlines() == [
        "  a  Linear  1.5 K",
        "1.5 K parameters, of which 500 are not trained",
    ]
