"""Parts of a model as files for other runtimes: torch.export programs and ONNX, each checked against the model."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.export import Dim, ExportedProgram

from common.eval_mode import eval_mode
from common.export.parts import Example, Part, example
from common.model.abilities import WritesTokens
from common.model.generation import Generation
from common.paths import written_whole

TOLERANCE = 1e-5  # largest difference to the model, relative to the largest value where that is above 1
TRACED, COMPARED = 3, (1, 4)  # examples to trace with, and to compare on
CONDITION = "condition_"  # what the names of a condition's inputs begin with

Run = Callable[[Example], Sequence[Tensor]]  # the outputs of a file for some examples


def traced(part: Part, model: Generation) -> ExportedProgram:
    """A part as a program for any number of examples, and of tokens where it reads some.

    Raises:
        ValueError: if it cannot be traced; the message says why.
    """
    given = example(model, TRACED)
    shapes: list[Any] = [{0: Dim.DYNAMIC} for _ in part.inputs]
    for shape, name in zip(shapes, part.inputs, strict=True):
        if isinstance(model, WritesTokens) and name in ("x", "tokens"):
            shape[1] = Dim.DYNAMIC
    fields = {name: {0: Dim.DYNAMIC} for name in given.fields}
    with eval_mode(part.module), _unvalidated():
        try:
            # Strictly, because `len` of a tensor is a constant else.
            return torch.export.export(part.module, given.of(part), dynamic_shapes=(*shapes, fields), strict=True)
        except (RuntimeError, AssertionError, ValueError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ValueError(f"the {part.name} of {type(model).__name__} cannot be exported: {reason}") from error


@contextmanager
def _unvalidated() -> Iterator[None]:
    """Without torch's checks of the arguments of distributions, which cannot be traced."""
    before = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)


def save_program(part: Part, program: ExportedProgram, path: Path) -> Run:
    """Writes a program, which `torch.export.load` reads, and returns what runs the file."""
    with written_whole(path) as partial, partial.open("wb") as file:
        torch.export.save(program, file)
    module = torch.export.load(path).module()

    def run(given: Example) -> Sequence[Tensor]:
        found = module(*given.of(part))
        return [found] if isinstance(found, Tensor) else list(found)

    return run


def save_onnx(part: Part, program: ExportedProgram, path: Path) -> Run:
    """Writes a program as ONNX, and returns what runs the file in ONNX Runtime."""
    import onnxruntime

    names = [*part.inputs, *(CONDITION + name for name in part.fields)]
    try:
        converted = torch.onnx.export(
            program, dynamo=True, input_names=names, output_names=list(part.outputs), verbose=False, external_data=False
        )
    except torch.onnx.OnnxExporterError as error:
        reason = " ".join(str(error.__cause__ or error).split())[:300]
        raise ValueError(f"the {part.name} cannot be written as ONNX: {reason}; leave out --onnx") from error
    assert converted is not None
    with written_whole(path) as partial:
        converted.save(str(partial), external_data=False)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    known = {entry.name for entry in session.get_inputs()}

    def run(given: Example) -> Sequence[Tensor]:
        values = {name: given.tensors[name] for name in part.inputs}
        values |= {CONDITION + name: field for name, field in given.fields.items()}
        found = session.run(None, {name: value.numpy() for name, value in values.items() if name in known})
        return [torch.from_numpy(output) for output in found]

    return run


def difference(part: Part, model: Generation, run: Run) -> float:
    """The largest difference of a file's outputs to the model's, of one example and of several.

    Relative to the largest value of the output where that is above 1.

    Raises:
        ValueError: if it is above 1e-5, or not finite.
    """
    largest = 0.0
    for size in COMPARED:
        given = example(model, size, seed=size)
        with eval_mode(part.module):
            right, found = part.module(*given.of(part)), run(given)
        pairs = zip([right] if isinstance(right, Tensor) else right, found, part.outputs, strict=True)
        for own, other, name in pairs:
            if own.shape != other.shape:
                raise ValueError(f"{name} of the exported {part.name} is {tuple(other.shape)}, not {tuple(own.shape)}")
            error = float((own - other).abs().max() / own.abs().max().clamp_min(1.0))
            if not error <= TOLERANCE:
                raise ValueError(f"{name} of the exported {part.name} differs by {error:.1e} from the model's")
            largest = max(largest, error)
    return largest
