"""Text as a person uses it: one short run on short verses, and what its checkpoint does on files of a person's own."""

import json

import pandas as pd
import pytest

from common.results import Results
from common.training.module import ConditionalELBO
from modalities.text import TextStyleCVAE
from modalities.text.files import TextFormat
from scripts.generate import generate, parser

WHOLE = ["--data.limit", "null", "--model.evaluation.judge_steps", "null", "--model.evaluation.control_samples", "50"]
QUICK = ["--config", "configs/text/bible.yaml", "--config", "configs/trainer/debug.yaml", "--data.words", "7", *WHOLE]
SMALL = ["--model.architecture.width", "32", "--model.rewrites", "10", "--data.vocabulary", "600"]


@pytest.fixture(scope="module")
def run(train_text, tmp_path_factory):
    """A finished run's folder."""
    root = tmp_path_factory.mktemp("runs")
    train_text("fit", *QUICK, *SMALL, "--run.root", root, "--run.name", "short", "--trainer.limit_train_batches", "20")
    (folder,) = (root / "text" / "short").iterdir()
    return folder


@pytest.fixture
def verses(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("And God said unto them.\nThe dog is not here.\n")
    return path


def verbs(*arguments):
    generate(parser().parse_args([str(argument) for argument in arguments]))


def test_a_run_leaves_results_of_text_and_tables_to_read(run):
    metrics = Results.read(run / "results.json").metrics
    shared = {
        "test/nll",
        "test/kl",
        "test/control_accuracy",
        "test/judge_accuracy",
        "test/leakage",
        "test/active_units_kl",
    }
    own = {"test/perplexity", "test/fluency", "test/distinct_2", "test/rewrite/kjv-bbe/input_bleu"}
    assert shared | own <= set(metrics)
    assert metrics["test/judge_accuracy"].value > 0.6
    assert metrics["test/control_accuracy/style/kjv"].n == metrics["test/control_accuracy"].n // 3
    assert {"style", "text", "reconstruction", "as kjv", "as bbe", "as web"} == set(
        pd.read_csv(run / "samples" / "test-rewritings.csv").columns
    )
    assert set(pd.read_csv(run / "samples" / "test-samples-by-style.csv")["style"]) == {"kjv", "bbe", "web"}


def test_a_fresh_process_writes_text_from_the_checkpoint_alone(run, tmp_path, run_script):
    checkpoint = tmp_path / "alone.ckpt"
    checkpoint.write_bytes((run / "checkpoints" / "best.ckpt").read_bytes())
    result = run_script(
        "scripts/generate.py",
        "--ckpt",
        checkpoint,
        "--condition",
        "style=kjv",
        "--num",
        5,
        "--top-p",
        0.9,
        "--out",
        "-",
    )
    assert len(result.stdout.splitlines()) == 5
    assert "5 written to -" in result.stderr


def test_text_is_read_and_written_as_files(run, verses, tmp_path):
    known = ["--ckpt", run / "checkpoints" / "best.ckpt", "--out", tmp_path / "out.jsonl"]
    verbs("transfer", *known, "--in", verses, "--source", "style=kjv", "--condition", "style=bbe", "--beams", 2)
    assert [set(json.loads(line)) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == [{"text"}] * 2
    verbs("interpolate", *known, "--in", verses, "--condition", "style=kjv", "--num", 4)
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 4
    verbs(*known, "--condition", "style=web", "--num", 3, "--best-of", 2)
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 3


def test_a_seed_fixes_the_text(run, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        verbs(
            "--ckpt",
            run / "checkpoints" / "best.ckpt",
            "--condition",
            "style=kjv",
            "--seed",
            seed,
            "--out",
            tmp_path / f"{name}.txt",
        )
    a, b, c = ((tmp_path / f"{name}.txt").read_text() for name in "abc")
    assert a == b != c


def test_files_are_scored_sentence_by_sentence(run, verses, tmp_path, run_script):
    arguments = ["--in", verses, "--condition", "style=kjv", "--num-samples", 20, "--out", tmp_path / "scores.csv"]
    result = run_script("scripts/evaluate.py", "score", "--ckpt", run / "checkpoints" / "best.ckpt", *arguments)
    table = pd.read_csv(tmp_path / "scores.csv")
    assert f"NLL {table.nll_nats.mean():.3f}" in result.stdout
    assert table.line.tolist() == [1, 2]
    assert set(table["style"]) == {"kjv"}
    model = ConditionalELBO.load_from_checkpoint(run / "checkpoints" / "best.ckpt")
    assert isinstance(model, TextStyleCVAE)
    assert table.tokens.tolist() == model.lengths(TextFormat().read(model, verses)).tolist()


def test_rewriting_of_unseen_files_is_measured_beside_baselines(run, verses, tmp_path, run_script):
    references = tmp_path / "references.csv"
    references.write_text("id,text\n1,And God said to them.\n2,The dog is not in this place.\n")
    result = run_script(
        "scripts/evaluate.py", "transfer", "--ckpt", run / "checkpoints" / "best.ckpt", "--inputs", verses,
        "--source-style", "kjv", "--target-style", "bbe", "--references", references, "--out", tmp_path / "out.txt",
    )  # fmt: skip
    rows = {line.split("│")[1].strip(): line.split("│")[2:] for line in result.stdout.splitlines() if "│" in line}
    assert {"model", "copy", "retrieve"} <= set(rows)
    assert float(rows["copy"][1]) == pytest.approx(100)
    assert "sacrebleu nrefs:1" in result.stdout
    assert len((tmp_path / "out.txt").read_text().splitlines()) == 2


def test_files_that_do_not_fit_are_named(run, tmp_path, run_script):
    (tmp_path / "long.txt").write_text("fine.\n" + "word " * 100 + "\n")
    known = ["--ckpt", run / "checkpoints" / "best.ckpt", "--condition", "style=kjv", "--source", "style=kjv"]
    with pytest.raises(ValueError, match=r"long\.txt, line 2: \d+ tokens; this model reads at most 48"):
        verbs("reconstruct", *known, "--in", tmp_path / "long.txt", "--out", tmp_path / "x.txt")
    with pytest.raises(ValueError, match=r"written to \.txt, \.jsonl or \.csv"):
        verbs(*known[:4], "--out", tmp_path / "x.png")
    with pytest.raises(ValueError, match="'latin' is not one of bbe, kjv, web"):
        verbs("--ckpt", known[1], "--condition", "style=latin", "--out", tmp_path / "x.txt")
