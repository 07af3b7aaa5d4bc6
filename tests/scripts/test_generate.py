import numpy as np
import pytest
import torch
from PIL import Image

from common.conditions.attributes import Categorical, Continuous
from common.training.evaluator import Evaluator
from modalities.image import AttributeEncoder, ImageCVAE
from modalities.image.networks import MLP
from modalities.image.report import ImageReport
from scripts.generate import generate, main, parser


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
        (["--out", f"{tmp_path}/folder.png"], "folder.png: is a directory"),
        (["--out", f"{tmp_path}/a.jpg"], "a.jpg: images are written as .png"),
    ):
        assert main([*words, *known]) == 2
        (said,) = capsys.readouterr().err.splitlines()
        assert said.startswith(f"generate.py: {tmp_path}/{line}")


def test_the_folder_of_the_output_is_made(checkpoint, tmp_path):
    out = tmp_path / "new" / "deep" / "a.png"
    assert main(["--ckpt", str(checkpoint), "--condition", "age=30", "--num", "2", "--out", str(out)]) == 0
    assert out.exists()
