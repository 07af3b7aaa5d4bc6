"""Exported parts: what other runtimes compute with them is what the model does."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from common.distributions.noise import prior_sample
from common.eval_mode import eval_mode
from common.export.folder import write_folder
from common.export.parts import example, parts
from common.export.programs import difference, traced
from scripts.export import main
from tests.every_model import MODELS, image, text
from tests.tabular.models import conditional

EXTRAS, SLOW = [pytest.mark.extras], [pytest.mark.slow]
IN_ONNX = {"pictures, convolutions": EXTRAS, "table": EXTRAS, "text, copied words": SLOW, "audio": SLOW}
# Each takes some seconds to half a minute, and those in ONNX are traced as well.
TRACED = {name: [] if name == "pictures" else SLOW for name in MODELS if name not in IN_ONNX}


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks) for name, marks in TRACED.items()])
def test_every_part_is_traced_for_any_number_of_examples(name):
    """`difference` compares one example and four (and as many tokens); the parts are traced with three."""
    model = MODELS[name]()
    for part in parts(model):
        module = traced(part, model).module()

        def run(given, part=part, module=module):
            found = module(*given.of(part))
            return [found] if isinstance(found, torch.Tensor) else found

        assert difference(part, model, run) <= 1e-5


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks) for name, marks in IN_ONNX.items()])
def test_onnx_runtime_computes_what_the_model_does(name, tmp_path):
    pytest.importorskip("onnxruntime")
    model = MODELS[name]()
    lines = list(write_folder(model, tmp_path, onnx=True))
    assert len(lines) == 2 * len(parts(model)) + 1
    described = json.loads((tmp_path / "programs.json").read_text())
    for part in described["parts"].values():
        assert all(error <= 1e-5 for error in part["differences"].values())
    assert described["condition"].keys() <= {f"condition_{name}" for name in model.condition.field_names}


READ = """
import json, sys
from pathlib import Path
import torch

folder = Path(sys.argv[1])
described = json.loads((folder / "programs.json").read_text())
kinds = described["condition"]["condition_kind"]["values"]
fields = {"kind": torch.tensor([kinds.index("c"), -1]), "age": torch.tensor([20.0, float("nan")])}
prior, decoder = (torch.export.load(folder / f"{name}.pt2").module() for name in ("prior", "decoder"))
z = prior(torch.full((2, 4), 0.5), fields)
torch.save(decoder(z, fields), folder / "x.pt")
assert not {"common", "modalities", "lightning"} & {name.partition(".")[0] for name in sys.modules}
"""


def test_a_process_without_the_suite_generates_with_the_programs_of_the_script(tmp_path, capsys):
    model = image()
    model.save_pretrained(tmp_path / "model")
    words = ["--ckpt", str(tmp_path / "model"), "--out", str(tmp_path / "programs")]
    assert main(words) == 0
    assert capsys.readouterr().out.count(" from the model\n") == 3
    assert main(words) == 2
    assert "is not empty: name a new folder" in capsys.readouterr().err
    subprocess.run([sys.executable, "-c", READ, str(tmp_path / "programs")], check=True, cwd=tmp_path)
    fields = model.raw_fields({"kind": torch.tensor([2, -1]), "age": torch.tensor([20.0, float("nan")])})
    with eval_mode(model):
        z = prior_sample(model.prior(model.condition(fields)), torch.full((2, 4), 0.5), torch.zeros(2))
        expected = model.decode(z, model.condition(fields)).mean
    torch.testing.assert_close(torch.load(tmp_path / "programs/x.pt"), expected, rtol=1e-5, atol=1e-5)


def test_token_by_token_the_program_writes_the_sentence_that_the_model_does():
    model = text()
    (step,) = (part for part in parts(model) if part.name == "decoder")
    program = traced(step, model).module()
    z, fields = torch.randn(2, 6), {"style": torch.tensor([0, 1])}
    with eval_mode(model):
        right = model.decode(z, model.condition(fields)).mode
    tokens = model.first_tokens(2)
    for _ in range(right.shape[1] - 1):  # the model ends a sentence that has reached the longest length
        tokens = torch.cat([tokens, program(tokens, z, fields).argmax(-1, keepdim=True)], dim=1)
    assert model.texts(tokens[:, 1:]) == model.texts(right[:, :-1])


def test_a_file_that_computes_something_else_is_refused():
    model = image()
    encoder = parts(model)[0]

    def wrong(given):
        with eval_mode(model):
            mean, scale = encoder.module(*given.of(encoder))
        return mean, scale * (1 + 1e-3)

    with pytest.raises(ValueError, match="scale of the exported encoder differs by"):
        difference(encoder, model, wrong)

    def never(given):
        return [torch.full_like(value, np.nan) for value in wrong(given)]

    with pytest.raises(ValueError, match="mean of the exported encoder differs by nan"):
        difference(encoder, model, never)


def test_nothing_is_left_of_programs_that_compute_something_else(tmp_path, monkeypatch, capsys):
    image().save_pretrained(tmp_path / "model")
    monkeypatch.setattr("common.export.programs.TOLERANCE", -1.0)
    assert main(["--ckpt", str(tmp_path / "model"), "--out", str(tmp_path / "programs")]) == 2
    assert "mean of the exported encoder differs by" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_without_onnx_the_extra_is_named(tmp_path, monkeypatch, capsys):
    image().save_pretrained(tmp_path / "model")
    monkeypatch.setattr("common.export.extra.find_spec", lambda name: None)
    assert main(["--ckpt", str(tmp_path / "model"), "--out", str(tmp_path / "programs"), "--onnx"]) == 2
    assert "ONNX needs onnx: pip install --editable '.[export]'" in capsys.readouterr().err


def test_examples_are_those_that_the_model_knows():
    model = conditional()
    given = example(model, 6)
    assert torch.equal(given.tensors["x"].isnan(), given.fields["observed"].isnan())
    assert 0 < given.tensors["x"].isnan().float().mean() < 0.6
    assert example(model, 6).tensors["x"].nan_to_num().equal(given.tensors["x"].nan_to_num())
