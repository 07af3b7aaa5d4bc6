import json
import os
import statistics
from pathlib import Path

import pytest
import torch

from common.benchmark.estimates import arithmetic, plain_log_likelihood
from common.benchmark.page import PAGE, growth_plot, profiles, renewed, table
from common.benchmark.plain_loop import PlainLoop, losses, train
from common.benchmark.preparation import in_batches, ready, usual_loader
from common.benchmark.profile import floors, growth, shares
from common.benchmark.scaling import rate
from common.benchmark.trials import (
    Contender,
    Spread,
    interleaved,
    measured,
    on_a_terminal,
    printed_object,
    printed_rates,
    ran,
    ratios,
    rows_of,
    whole_command,
)
from common.data.from_config import data_from_configuration
from common.eval_mode import eval_mode
from common.evaluation.bounds import log_likelihood
from common.training.restore import restore
from scripts.peers.mlp_loop import checked, networks
from tests.scripts.own_data import OWN, slow_but
from tests.scripts.resume import Runs


def contender(name, rate):
    return Contender(name, ["printf", json.dumps([rate, rate, rate + 1])], printed_rates)


def test_contenders_run_in_turn_and_ratios_are_those_of_the_rounds():
    rates = interleaved([contender("a", 6.0), contender("b", 3.0)], 3)
    assert rates == {"a": [6.0] * 3, "b": [3.0] * 3}
    rates["a"][2] = 12.0
    assert ratios(rates, "a") == {"b": Spread(2.0, 2.0, 3.0)}


def test_rates_are_found_behind_a_progress_bar():
    assert printed_rates("epoch [00:01<00:00]\r\x1b[A 99%[1.0, 2e1, 3.5]\n", 1.0) == 3.5
    with pytest.raises(ValueError, match="has printed no rates: nothing"):
        printed_rates("nothing", 1.0)


def test_what_a_command_prints_is_printed_on_a_terminal():
    assert "yes" in on_a_terminal(["sh", "-c", "test -t 1 && echo yes"], {})
    with pytest.raises(RuntimeError, match=r"ends with status 3: .*no"):
        on_a_terminal(["sh", "-c", "echo no; exit 3"], {})


@pytest.mark.parametrize("own", OWN, ids=lambda own: own.modality)
def test_the_plain_loop_trains_the_model_of_a_run(own, tmp_path):
    further = ["--trainer.gradient_clip_val", "1.0", "--averaging", "0.9", "--trainer.max_epochs", "1"]
    checkpoint = Runs(own, tmp_path, *further).fit("run") / "checkpoints" / "last.ckpt"
    rates = train(checkpoint, 3, 2, mixed=own.modality == "text")
    assert len(rates) == 2
    assert min(rates) > 0


@pytest.mark.parametrize("own", slow_but("image", "tabular"))
def test_the_plain_loop_has_the_losses_of_the_suite(own, tmp_path):
    run = Runs(own, tmp_path, "--trainer.gradient_clip_val", "1.0", "--averaging", "0.9")
    checkpoint = run.fit("run", "--trainer.max_epochs", "1") / "checkpoints" / "last.ckpt"
    further = ["--weights", str(checkpoint), "--trainer.max_epochs", "9", "--trainer.max_steps", "8"]
    trained = run.fit("from", *further, "--trainer.log_every_n_steps", "1")
    logged = rows_of(trained / "metrics.csv", "train/loss")
    assert losses(checkpoint, 8) == pytest.approx(logged, rel=1e-6)


def test_a_whole_command_is_timed():
    row = measured([Contender("slow", ["sleep", "0.2"], whole_command), Contender("quick", ["true"], whole_command)], 2)
    assert max(row["rates"]["slow"]) < 5
    assert row["of"]["quick"]["median"] < 1


def test_the_plain_estimate_is_that_of_the_suite_up_to_its_noise(tmp_path):
    checkpoint = Runs(OWN[0], tmp_path, "--trainer.max_epochs", "1").fit("run") / "checkpoints" / "last.ckpt"
    restored = restore(checkpoint)
    batch = restored.data().batch("test", 3)
    with eval_mode(restored.model):
        ours = log_likelihood(restored.model, batch, 2000).log_likelihood
        plain = plain_log_likelihood(restored.model, batch, 2000)
    torch.testing.assert_close(ours, plain, rtol=0.01, atol=1.0)
    counted = arithmetic(checkpoint, samples=7)
    twice = arithmetic(checkpoint, samples=14)
    assert 1.5 < twice["flops"] / counted["flops"] <= 2


def test_a_command_that_fails_says_why():
    assert printed_object(["printf", 'more\\n{"a": 1}']) == {"a": 1}
    with pytest.raises(RuntimeError, match=r"ends with status 3: the reason"):
        ran(["sh", "-c", "echo the reason >&2; exit 3"])


def test_batches_of_both_loaders_have_all_examples():
    configuration = Path("configs/tabular/breast_cancer.yaml")
    assert ready(configuration) > 0
    data = data_from_configuration(configuration)
    for loader in (data.loader("train", shuffle=True), usual_loader(data)):
        assert len(loader) == data.train_size // data.batch_size
        assert in_batches(loader) > 0


def test_the_hand_written_loop_takes_recorded_steps(tmp_path):
    torch.manual_seed(0)
    weights = [parameter.detach() for parameter in networks().parameters()]
    x, y, noise = torch.rand(16, 1, 28, 28).round(), torch.arange(16) % 10, torch.randn(16, 20)
    torch.save({"weights": weights, "inputs": [(x, y, noise)] * 3}, tmp_path / "record.pt")
    first, second, third = checked(tmp_path / "record.pt")
    assert first > second > third
    assert checked(tmp_path / "record.pt")[0] == first


def test_the_page_has_the_stored_figures():
    assert renewed(PAGE.read_text()) == PAGE.read_text()
    row = {"rounds": 2, "rates": {"the suite": [2.0, 4.0], "other": [1.0, 1.0]},
           "of": {"other": {"median": 3.0, "low": 2.5, "high": 3.5}}}  # fmt: skip
    assert "| w, 2 rounds | other | 1 | 3.00 (2.50 to 3.50) |" in table({"w": row}, "examples a second")
    assert "| w, 2 rounds | the suite | 0.33 |" in table({"w": row}, "s")


def test_a_step_is_profiled(tmp_path):
    checkpoint = Runs(OWN[-1], tmp_path, "--trainer.max_epochs", "1").fit("run") / "checkpoints" / "last.ckpt"
    loop = PlainLoop(checkpoint)
    assert 0 < sum(shares(loop, steps=1).values()) <= 1
    least = floors(loop)
    assert least["gigaflops"] > 0
    assert least["passes"] > 0
    sizes = growth(checkpoint, factors=[1, 2])
    assert [size for size, _ in sizes["batch"]][1] == 2 * sizes["batch"][0][0]
    assert [size for size, _ in sizes["latent_dim"]][1] == 2 * sizes["latent_dim"][0][0]
    row = {"milliseconds": 2.0, "floors": least, "shares": {"aten::mm": 0.25}, "growth": sizes}
    assert "| w | 2.0 |" in profiles({"w": row})
    assert growth_plot({"w": row}).size == (1000, 320)


@pytest.mark.slow  # half a minute of starting processes
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
@pytest.mark.parametrize("apart", [False, True])
def test_two_pinned_processes_are_timed(apart, tmp_path):
    own = OWN[3]
    data = own.write(tmp_path / "data", {"low": "calm", "high": "wild"}, 30)
    words = ["scripts/train_tabular.py", "fit", *own.options, "--data.root", str(data), "--trainer.max_epochs", "3"]
    found = rate(words, tmp_path / "runs", apart)
    runs = list((tmp_path / "runs").rglob("metrics.csv"))
    assert len(runs) == (2 if apart else 1)
    rates = [statistics.median(rows_of(path, "train/examples_per_second")[1:]) for path in runs]
    assert found == pytest.approx(sum(rates))
    assert found > 1
