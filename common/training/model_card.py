"""The card of a shared model: what it is, its own figures and pictures, and how it is loaded."""

from collections.abc import Sequence
from typing import Any

from common.results import Results

LOADING = """```python
from common.training import ConditionalELBO

model = ConditionalELBO.from_pretrained("{place}")
x = model.sample({condition}, num_samples=4)
```"""


def card(
    name: str,
    kind: str,
    condition: str,
    place: str,
    parameters: int,
    data: str,
    results: Results | None = None,
    pictures: Sequence[tuple[str, str]] = (),
    license: str | None = None,
    data_license: str | None = None,
) -> str:
    """The card as Markdown with the front matter that the hub reads.

    Args:
        name: what the model is called.
        kind: its class.
        condition: a condition that it knows, `name=value`, or an empty text.
        place: folder or repository that it is loaded from.
        parameters: their number.
        data: what it was trained on.
        results: figures of its test.
        pictures: files beside the card with their captions.
        license: licence of the weights, as the hub spells it (`mit`).
        data_license: licence of the data that it was trained on.
    """
    field, _, value = condition.partition("=")
    asked = "{}" if not condition else f"{{{field!r}: {value!r}}}"
    head = ["---", "library_name: cvae-suite", "tags:", "- cvae", "- variational-autoencoder", f"- {kind.lower()}"]
    head += [f"license: {license}"] if license else []
    lines = [*head, "---", f"# {name}", ""]
    lines += [f"A conditional variational autoencoder ({kind}, {parameters:,} parameters), trained on {data}.", ""]
    lines += [LOADING.format(place=place, condition=asked), ""]
    if results is not None:
        lines += ["## Figures of its test", "", "| figure | value | ± error | unit | n | estimator |"]
        lines += ["| --- | ---: | ---: | --- | ---: | --- |"]
        for metric, figure in results.metrics.items():
            error = "" if figure.stderr is None else f"{figure.stderr:.2g}"
            row = [metric, f"{figure.value:.4g}", error, figure.unit, f"{figure.n:,}", figure.estimator]
            lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |")
        run = results.run
        lines += ["", f"Trained {run.seconds:.0f} s on {run.device}; data {run.data_fingerprint}, configuration "
                  f"{run.config_hash}, revision {run.git}, seed {run.seed}.", ""]  # fmt: skip
    if pictures:
        lines += ["## What it makes", ""]
        for file, caption in pictures:
            lines += [f"![{caption}]({file})", "", caption, ""]
    lines += ["## Data and limits", ""]
    lines += [f"Licence of the training data: {data_license or 'not stated by who shared this model'}.", ""]
    lines += ["The model knows the conditions, categories and columns of its training data and no others. What it "
              "generates follows those data with their gaps and biases.", ""]  # fmt: skip
    return "\n".join(lines)


def data_of(stored: dict[str, Any]) -> str:
    """What a checkpoint's model was trained on, in words."""
    name = str(stored.get("configuration", {}).get("data", {}).get("class_path", "")).rpartition(".")[2]
    fingerprint = stored.get("data", {}).get("fingerprint")
    return f"{name or 'data'} (fingerprint {fingerprint})" if fingerprint else name or "data that it does not name"
