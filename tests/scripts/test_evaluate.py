import math
import re

import pytest
import torch

from common.conditions.attributes import Categorical
from common.results import Results
from common.training.checkpoint import description
from modalities.image import AttributeEncoder, ImageCVAE
from modalities.image.networks import MLP as Layers
from scripts import evaluate
from tests.scripts.own_data import slow_but
from tests.scripts.resume import Runs
from tests.scripts.test_train_image import MLP, QUICK


@pytest.fixture(scope="module")
def run(train_image, tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    options = [*QUICK, *MLP, "--run.root", root, "--wandb.mode", "disabled", "--trainer.limit_test_batches", "null"]
    train_image("fit", *options)
    (results,) = root.rglob("results.json")
    return results.parent


def test_evaluate_gives_the_nll_of_the_test_whatever_the_script(run, run_script):
    result = run_script("scripts/evaluate.py", "nll", "--ckpt", run / "checkpoints" / "best.ckpt", "--num-samples", 10)
    value, error, count = re.search(r"test NLL ([\d.]+) ± ([\d.]+) nats on (\d+)", result.stdout).groups()
    tested = Results.read(run / "results.json").metrics["test/nll"]
    assert float(value) == pytest.approx(tested.value, abs=2e-3)
    assert float(error) == pytest.approx(tested.stderr, abs=2e-3)
    assert int(count) == tested.n == 500


def test_evaluate_takes_a_split_and_a_limit(run, capsys):
    checkpoint = str(run / "checkpoints" / "best.ckpt")
    assert evaluate.main(["nll", "--ckpt", checkpoint, "--num-samples", "5", "--split", "val", "--limit", "70"]) == 0
    printed = capsys.readouterr().out
    assert "val NLL" in printed
    assert "on 70 examples" in printed


def test_how_many_are_decoded_at_once_changes_no_figure(run, capsys, monkeypatch):
    decode, counts = ImageCVAE.decode, []
    monkeypatch.setattr(ImageCVAE, "decode", lambda s, z, c: counts.append(z.shape[:-1].numel()) or decode(s, z, c))
    checkpoint = str(run / "checkpoints" / "best.ckpt")
    printed = []
    for at_once in (["--at-once", "7"], []):
        counts.clear()
        assert evaluate.main(["nll", "--ckpt", checkpoint, "--num-samples", "9", "--limit", "20", *at_once]) == 0
        printed.append(capsys.readouterr().out)
        assert max(counts) == 7 if at_once else max(counts) > 7
    assert printed[0] == printed[1]


SHORT = {"chains": 4, "temperatures": 20, "leapfrog": 3}


def test_annealed_importance_sampling_bounds_the_nll_closer_and_from_both_sides(run, capsys):
    options = ["nll", "--ckpt", str(run / "checkpoints" / "best.ckpt"), "--limit", "20"]
    short = [word for name, value in SHORT.items() for word in (f"--{name}", str(value))]
    bounds = r"between ([\d.]+) and ([\d.]+) nats, a gap of ([\d.]+)"
    assert evaluate.main([*options, "--num-samples", "4", "--gap"]) == 0
    by_samples = capsys.readouterr().out
    loose = float(re.search(r"test NLL ([\d.]+)", by_samples)[1])
    assert evaluate.main([*options, "--method", "ais", "--gap", *short]) == 0
    first, second, third = capsys.readouterr().out.splitlines()
    assert "on 20 examples (annealed importance sampling from the posterior, 4 chains of 20 temperatures" in first
    assert float(re.search(r"test NLL ([\d.]+)", first)[1]) < loose
    low, high, gap = map(float, re.search(bounds, second).groups())
    assert high - low == pytest.approx(gap, abs=2e-3)
    assert 0 < gap < min(5, float(re.search(bounds, by_samples)[3]))
    assert re.fullmatch(r"[\d.]+ s an example", third)
    for words, said in ((["--chains", "3"], "--chains is of annealed"), (["--conditions", "3"], "--gain"),
                        (["--method", "ais", "--num-samples", "9"], "give --chains"),
                        (["--method", "ais", "--refine", "9"], "--refine is of importance sampling")):  # fmt: skip
        assert evaluate.main([*options, *words]) == 2
        assert said in capsys.readouterr().err


def test_samples_of_a_q_that_is_refined_for_each_example_count_for_more(run, capsys):
    options = ["nll", "--ckpt", str(run / "checkpoints" / "best.ckpt"), "--limit", "20", "--num-samples", "50"]
    found = {}
    for words in ([], ["--refine", "100"], ["--refine", "0", "--degrees", "8", "--prior", "0.1"]):
        assert evaluate.main([*options, *words]) == 0
        out = capsys.readouterr().out
        found[" ".join(words)] = float(re.search(r"mean effective sample size ([\d.]+)", out)[1])
        assert ("s an example" in out) == bool(words)
    assert evaluate.main([*options[:3], "--limit", "4", "--num-samples", "5", "--gain"]) == 0
    gain = re.search(r"condition gain (-?[\d.]+) ± [\d.]+ nats against 10 conditions, all", capsys.readouterr().out)
    assert float(gain[1]) <= math.log(10) + 0.01
    few = ["--gain", "--conditions", "3"]
    assert evaluate.main([*options[:3], "--limit", "4", "--num-samples", "5", *few]) == 0
    gain = re.search(r"condition gain (-?[\d.]+) ± [\d.]+ nats against (\d) conditions, drawn", capsys.readouterr().out)
    assert float(gain[1]) <= math.log(4) + 0.01
    assert int(gain[2]) <= 3
    assert found["--refine 100"] > 2 * found[""]
    assert "50 samples of t with 8 degrees of freedom, 10% from the prior" in out


def test_a_test_draws_from_a_refined_q(run, train_image, tmp_path):
    words = [f"--model.evaluation.{name}" for name in ("proposal.refine=20", "num_samples=10", "nll_examples=6")]
    words += [f"--model.evaluation.{name}" for name in ("gain_examples=3", "gap_examples=5", "control_samples=8")]
    words += ["--model.evaluation.gain_conditions=4"]
    options = ["--config", run / "config.yaml", "--ckpt_path", run / "checkpoints" / "best.ckpt"]
    metrics = Results.read(
        train_image("test", *options, *words, "--run.root", tmp_path).folder / "results.json"
    ).metrics
    for name, count in (("nll", 6), ("nll_gap", 5), ("condition_gain", 3)):
        assert metrics[f"test/{name}"].n == count
        assert "q refined by 20 steps for each example, Laplace's covariance" in metrics[f"test/{name}"].estimator
    assert "own and 4 drawn conditions" in metrics["test/condition_gain"].estimator


def test_a_test_takes_annealed_importance_sampling(run, train_image, tmp_path):
    words = [f"--model.evaluation.annealing.{name}={value}" for name, value in SHORT.items()]
    words += [f"--model.evaluation.{name}" for name in ("nll_method=ais", "nll_examples=6", "gap_examples=5")]
    words += ["--model.evaluation.gain_examples=3", "--model.evaluation.control_samples=8"]
    options = ["--config", run / "config.yaml", "--ckpt_path", run / "checkpoints" / "best.ckpt"]
    tested = train_image("test", *options, *words, "--run.root", tmp_path).folder
    metrics = Results.read(tested / "results.json").metrics
    for name, count in (("nll", 6), ("nll_gap", 5), ("condition_gain", 3), ("effective_sample_size", 6)):
        assert metrics[f"test/{name}"].n == count
        assert "annealed importance sampling from the posterior, 4 chains" in metrics[f"test/{name}"].estimator
    assert 0 < metrics["test/nll_gap"].value < 5
    assert 1 <= metrics["test/effective_sample_size"].value <= 4


@pytest.mark.parametrize("own", slow_but("tabular"))
def test_every_figure_of_a_likelihood_names_the_estimator_that_it_has(own, tmp_path):
    words = [f"--model.evaluation.annealing.{name}={value}" for name, value in SHORT.items()]
    words += [f"--model.evaluation.{name}" for name in ("nll_method=ais", "nll_examples=4", "gain_examples=3")]
    words += ["--data.batch_tokens=100"] if own.modality == "text" else []
    folder = Runs(own, tmp_path, "--trainer.max_epochs", "1").fit("run", *words, "--run.test", "true")
    metrics = Results.read(folder / "results.json").metrics
    of_nll = [name for name in metrics if "nll" in name or name in ("test/perplexity", "test/condition_gain")]
    assert len(of_nll) >= 2
    assert {name for name in of_nll if "annealed importance sampling" not in metrics[name].estimator} == set()


def test_a_checkpoint_that_names_no_data_asks_for_their_configuration(tmp_path, capsys):
    model = ImageCVAE(AttributeEncoder({"digit": Categorical("ab")}), (1, 8, 8), 2, architecture=Layers([4]))
    torch.save({"state_dict": model.state_dict(), **description(model)}, tmp_path / "x.ckpt")
    assert evaluate.main(["nll", "--ckpt", str(tmp_path / "x.ckpt")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"evaluate.py: {tmp_path}/x.ckpt does not say what it was trained on")
    assert "--config" in line


def test_baselines_are_for_text_and_sound(tmp_path, capsys):
    written = tmp_path / "results.json"
    arguments = ["--config", "configs/image/digits.yaml", "--system", "copy", "--results", str(written)]
    assert evaluate.main(["baseline", *arguments]) == 2
    assert "Digits has no such system; there are some of text and sound" in capsys.readouterr().err
    assert not written.exists()


def test_report_prints_means_over_runs(run, run_script):
    result = run_script("scripts/report.py", run.parent, "--metrics", "test/nll", "test/kl")
    assert "digits" in result.stdout
    assert f"{Results.read(run / 'results.json').metrics['test/nll'].value:.4g}" in result.stdout
    wrong = run_script("scripts/report.py", run.parent, "--metrics", "test/beauty", check=False)
    assert wrong.returncode != 0
    assert "no result has test/beauty; there are: " in wrong.stderr
