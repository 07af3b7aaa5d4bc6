"""A folder of a model's exported parts, and the page that says how they are called."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from common.conditions.attributes import Categorical, Continuous
from common.export.parts import Part, example, parts
from common.export.programs import CONDITION, TOLERANCE, difference, save_onnx, save_program, traced
from common.model.abilities import WritesTokens
from common.model.generation import Generation
from common.paths import written_whole

DESCRIPTION = "programs.json"


def write_folder(model: Generation, folder: Path, onnx: bool) -> Iterator[str]:
    """Writes the parts of a model, and yields a line on each file: its size, and its difference to the model.

    Args:
        model: the model.
        folder: an existing folder.
        onnx: whether ONNX is written beside programs of torch.export.

    Raises:
        ValueError: if a part cannot be exported, or its file does not compute what the model does.
    """
    described: dict[str, Any] = {"model": type(model).__name__, "tolerance": TOLERANCE, "parts": {}}
    for part in parts(model):
        program = traced(part, model)
        writers = {"pt2": save_program, **({"onnx": save_onnx} if onnx else {})}
        files = {}
        for suffix, write in writers.items():
            path = folder / f"{part.name}.{suffix}"
            files[path.name] = difference(part, model, write(part, program, path))
            yield f"{path.name}: {path.stat().st_size / 1e6:.1f} MB, differs by {files[path.name]:.0e} from the model"
        described["parts"][part.name] = _described(part, model, files)
    described["condition"] = _condition(model)
    if isinstance(model, WritesTokens):
        described["vocabulary"] = model.vocabulary()
    with written_whole(folder / DESCRIPTION) as partial:
        partial.write_text(json.dumps(described, indent=2) + "\n")
    yield f"{DESCRIPTION}: inputs, outputs and values of the condition"


def _described(part: Part, model: Generation, files: dict[str, float]) -> dict[str, Any]:
    given = example(model, 2)
    inputs = {name: _tensor(given.tensors[name]) for name in part.inputs}
    inputs |= {CONDITION + name: _tensor(field) for name, field in given.fields.items()}
    return {"does": part.does, "differences": files, "inputs": inputs, "outputs": list(part.outputs)}


def _tensor(value: Tensor) -> dict[str, Any]:
    return {"dtype": str(value.dtype).removeprefix("torch."), "shape": ["batch", *value.shape[1:]]}


def _condition(model: Generation) -> dict[str, Any]:
    """What the values of the condition's inputs mean."""
    known: dict[str, Any] = {}
    for name in model.condition.field_names:
        attribute = model.condition.attributes.get(name)
        if isinstance(attribute, Categorical):
            known[CONDITION + name] = {"values": list(attribute.values), "missing": -1}
        elif isinstance(attribute, Continuous):
            known[CONDITION + name] = {"range": [attribute.low, attribute.high], "missing": "NaN"}
        else:
            known[CONDITION + name] = {"missing": "NaN"} if name == "observed" else {}
    return known
