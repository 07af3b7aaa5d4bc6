import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from common.conditions.attributes import Categorical, Continuous
from common.training.checkpoint import description
from common.training.evaluator import Evaluator
from modalities.image import AttributeEncoder, ImageCVAE
from modalities.image.networks import MLP
from modalities.image.report import ImageReport
from modalities.text import StyleEncoder, TextStyleCVAE
from modalities.text.networks.architectures import Compact
from scripts import evaluate
from scripts.generate import generate, main, parser
from tests.text.models import word_tokenizer


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A checkpoint with two attributes, as a training writes it."""
    path = tmp_path_factory.mktemp("ckpt") / "best.ckpt"
    attributes = {"gender": Categorical(("male", "female")), "age": Continuous(30.0, 10.0, 1.0, 90.0)}
    model = ImageCVAE(AttributeEncoder(attributes, field_dropout=0.1), (1, 16, 16), 4, MLP([16]))
    content = {"state_dict": model.state_dict()}
    model.on_save_checkpoint(content)
    Evaluator(model.evaluation, ImageReport()).on_save_checkpoint(None, model, content)
    torch.save(content, path)
    return path


@pytest.fixture
def files(tmp_path):
    paths = []
    for position in range(3):
        paths.append(tmp_path / f"{position}.png")
        Image.new("L", (16, 16), 80 * position).save(paths[-1])
    return paths


def run(*arguments):
    generate(parser().parse_args([str(argument) for argument in arguments]))


def array(path):
    return np.load(path)["samples"]


def test_a_fresh_process_generates_from_the_checkpoint_alone(checkpoint, tmp_path, run_script):
    out = tmp_path / "samples.png"
    result = run_script(
        "scripts/generate.py", "--ckpt", checkpoint, "--condition", "gender=female", "age=30", "--num", 6, "--out", out
    )
    assert f"6 written to {out}" in result.stdout
    assert Image.open(out).size[0] > 4 * 16


def test_the_seed_fixes_the_samples(checkpoint, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(
            "--ckpt", checkpoint, "--condition", "age=30", "--num", 5, "--seed", seed, "--out", tmp_path / f"{name}.npz"
        )
    a, b, c = (array(tmp_path / f"{name}.npz") for name in "abc")
    assert a.shape == (5, 1, 16, 16)
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("hair=red", "unknown condition 'hair'; this model knows: gender, age"),
        ("gender=robot", "condition gender: 'robot' is not one of male, female"),
        ("age=old", "condition age: 'old' is not a number"),
        ("gender", "written name=value"),
    ],
)
def test_unknown_names_and_values_list_the_valid_ones(checkpoint, tmp_path, condition, message):
    with pytest.raises(ValueError, match=message):
        run("--ckpt", checkpoint, "--condition", condition, "--out", tmp_path / "x.png")


def test_a_mistake_ends_a_script_with_one_line_and_no_traceback(checkpoint, tmp_path, run_script):
    result = run_script(
        "scripts/generate.py", "--ckpt", checkpoint, "--condition", "hair=red", "--out", tmp_path / "x.png", check=False
    )
    assert result.returncode != 0
    assert result.stderr.strip() == "generate.py: unknown condition 'hair'; this model knows: gender, age"


def test_reconstruct_transfer_and_interpolate_read_files(checkpoint, files, tmp_path):
    known = ["--ckpt", checkpoint, "--out", tmp_path / "out.npz"]
    run("reconstruct", *known, "--in", *files, "--condition", "gender=male", "age=20")
    reconstructed = array(tmp_path / "out.npz")
    assert reconstructed.shape == (3, 1, 16, 16)
    run("transfer", *known, "--in", *files, "--source", "gender=male", "age=20", "--condition", "gender=female")
    transferred = array(tmp_path / "out.npz")
    assert not np.allclose(transferred, reconstructed)
    run("transfer", *known, "--in", *files, "--source", "gender=male", "age=20", "--condition", "gender=male")
    assert np.allclose(array(tmp_path / "out.npz"), reconstructed, atol=1e-6)
    run("interpolate", *known, "--in", *files[:2], "--condition", "gender=male", "age=20", "--num", 7)
    path = array(tmp_path / "out.npz")
    assert path.shape == (7, 1, 16, 16)
    assert np.allclose(path[0], reconstructed[0], atol=1e-5)


def test_verbs_say_what_they_need(checkpoint, files, tmp_path):
    known = ["--ckpt", checkpoint, "--out", tmp_path / "out.npz"]
    with pytest.raises(ValueError, match="interpolate needs --in with 2"):
        run("interpolate", *known, "--in", files[0])
    with pytest.raises(ValueError, match="transfer needs --source"):
        run("transfer", *known, "--in", files[0], "--condition", "gender=male")


def test_files_that_cannot_be_read_or_written_are_named_in_one_line(checkpoint, tmp_path, capsys):
    (tmp_path / "noise.png").write_bytes(bytes(100))
    (tmp_path / "folder.png").mkdir()
    known = ["--ckpt", str(checkpoint), "--condition", "age=30"]
    for words, line in (
        (["reconstruct", "--in", f"{tmp_path}/noise.png", "--out", f"{tmp_path}/a.png"], "noise.png cannot be read"),
        (["--out", f"{tmp_path}/folder.png"], "folder.png cannot be written (is a directory)"),
        (["--out", f"{tmp_path}/a.jpg"], "a.jpg: images are written as .png"),
    ):
        assert main([*words, *known]) == 2
        (said,) = capsys.readouterr().err.splitlines()
        assert said.startswith(f"generate.py: {tmp_path}/{line}")


def test_the_folder_of_the_output_is_made(checkpoint, tmp_path):
    out = tmp_path / "new" / "deep" / "a.png"
    assert main(["--ckpt", str(checkpoint), "--condition", "age=30", "--num", "2", "--out", str(out)]) == 0
    assert out.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["transfer", "--num", 3], "transfer does not read --num"),
        (["reconstruct", "--temperature", 0.5, "--best-of", 3], "reconstruct does not read --temperature, --best-of"),
        (["interpolate", "--guidance", 2, "--draw"], "interpolate does not read --guidance, --draw"),
        (["--source", "gender=male", "--on-long", "skip"], "sample does not read --source, --on-long"),
        (["transfer", "--guidance", -1], "--guidance must be at least 0; got -1"),
        (["--beams", 4, "--top-p", 0.9], "--beams searches instead of drawing, which --top-p is for"),
        (["--best-of", 4, "--guidance", 2], "--best-of chooses among plain samples, and does not read --guidance"),
        (["transfer", "--token-temperature", 0.5], "transfer takes the likeliest text unless --draw is given"),
    ],
)
def test_an_option_that_is_not_read_is_refused(checkpoint, tmp_path, words, message):
    with pytest.raises(ValueError, match=message):
        run(*words, "--ckpt", checkpoint, "--out", tmp_path / "x.png")


@pytest.mark.parametrize("words", [["--text-column", "a"], ["--on-long", "skip"]])
def test_options_of_text_are_refused_for_pictures(checkpoint, files, tmp_path, words):
    known = ["--ckpt", checkpoint, "--in", *files]
    with pytest.raises(ValueError, match="ImageCVAE writes no text: leave out the options of text"):
        run("reconstruct", *known, "--out", tmp_path / "x.png", *words)
    with pytest.raises(ValueError, match="ImageCVAE reads no text: leave out --text-column and --on-long"):
        evaluate.score(evaluate.parser().parse_args(["score", *map(str, known), *words]))


def test_a_condition_that_is_given_twice_is_refused(checkpoint, tmp_path):
    with pytest.raises(ValueError, match="the condition age is given twice, age=3 and age=4: leave out one"):
        run("--ckpt", checkpoint, "--condition", "age=3", "gender=male", "age=4", "--out", tmp_path / "x.png")


# Text


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    """The checkpoint of an untrained model of text, whose data had their texts in a column `post`."""
    torch.manual_seed(0)
    words = word_tokenizer("god", "made", "light", "and", "earth")
    condition = StyleEncoder({"style": Categorical(["old", "new"])}, words, dim=6, dropout=0.1, length=6)
    small = Compact(width=16, heads=2, encoder_layers=1, decoder_layers=1, dropout=0.0)
    model = TextStyleCVAE(condition, words, 6, latent_dim=8, architecture=small).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    configuration = {"data": {"class_path": "modalities.text.data.TextFiles", "init_args": {"text": "post"}}}
    content = {"state_dict": model.state_dict(), **description(model), "files": "modalities.text.files.TextFormat"}
    path = tmp_path_factory.mktemp("text") / "best.ckpt"
    torch.save({**content, "configuration": configuration}, path)
    return path


STYLES = ["--source", "style=old", "--condition", "style=new"]


def test_a_table_of_posts_is_rewritten_and_scored_row_by_row(writer, tmp_path, capsys):
    rows = "".join(f"{n:03},{'god made light' if n % 3 else ''},{n % 2}\n" for n in range(300))
    (tmp_path / "in.csv").write_text("id,post,tone\n" + rows)
    known = ["--ckpt", writer, "--in", tmp_path / "in.csv"]
    run("transfer", *known, *STYLES, "--beams", 2, "--out", tmp_path / "out.csv")
    said = capsys.readouterr()
    assert said.out == f"300 written to {tmp_path}/out.csv\n"
    assert said.err.startswith(f"{tmp_path}/in.csv: 100 of 300 texts are empty and stay so (line 2, 5, 8, ")
    table = pd.read_csv(tmp_path / "out.csv", dtype=str, keep_default_na=False)
    assert list(table.columns) == ["id", "post", "tone"]
    assert table.id.tolist() == [f"{n:03}" for n in range(300)]
    assert [text == "" for text in table.post] == [n % 3 == 0 for n in range(300)]
    words = ["score", *known, "--condition", "style=old", "--num-samples", 3, "--out", tmp_path / "scores.csv"]
    evaluate.score(evaluate.parser().parse_args(list(map(str, words))))
    scores = pd.read_csv(tmp_path / "scores.csv", dtype={"id": str})
    assert scores.id.tolist() == table.id.tolist()
    assert scores.nll_nats.isna().sum() == 100
    said = capsys.readouterr()
    assert f"NLL {scores.nll_nats.mean():.3f}" in said.out
    assert "n = 200 examples" in said.out
    assert "300 scores written" in said.out


def test_the_column_and_what_is_done_with_long_texts_are_options(writer, tmp_path, capsys):
    (tmp_path / "in.jsonl").write_text('{"post": "god", "said": "earth"}\n{"said": "' + "light " * 9 + '"}\n')
    known = ["transfer", "--ckpt", writer, "--in", tmp_path / "in.jsonl", *STYLES, "--out", tmp_path / "out.jsonl"]
    with pytest.raises(ValueError, match=r"in\.jsonl, line 2 has no post; it has: said"):
        run(*known)
    with pytest.raises(ValueError, match=r"in\.jsonl, line 2: 10 tokens; this model reads at most 6\. Shorten it, or"):
        run(*known, "--text-column", "said")
    run(*known, "--text-column", "said", "--on-long", "skip")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row.get("post") for row in rows] == ["god", None]
    assert rows[0]["said"] != ""
    assert rows[1]["said"] == ""
    assert "1 of 2 texts were left out" in capsys.readouterr().err


def test_sampling_at_temperature_nought_is_greedy(writer, tmp_path):
    known = ["--ckpt", writer, "--condition", "style=old", "--temperature", 0, "--num", 300]
    run(*known, "--token-temperature", 0, "--out", tmp_path / "a.txt")
    run(*known, "--beams", 1, "--out", tmp_path / "b.txt")
    lines = (tmp_path / "a.txt").read_text().splitlines()
    assert len(lines) == 300  # more than are sampled at once
    assert lines == (tmp_path / "b.txt").read_text().splitlines()
    assert len(set(lines)) == 1


def test_a_sentence_is_rewritten_with_the_guidance_of_the_model_unless_another_is_given(writer, tmp_path, monkeypatch):
    (tmp_path / "in.txt").write_text("god\n")
    used = []
    monkeypatch.setattr(TextStyleCVAE, "_generate", lambda _, z, c, fields, guidance, draw: used.append(guidance) or
                        torch.full((1, 6), 2))  # fmt: skip
    known = ["--ckpt", writer, "--in", tmp_path / "in.txt", "--out", tmp_path / "out.txt"]
    run("transfer", *known, *STYLES)
    run("transfer", *known, *STYLES, "--guidance", 2)
    run("reconstruct", *known, "--condition", "style=old")
    assert used == [1.0, 2.0, 1.0]
