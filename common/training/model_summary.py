"""The parts of a model and the size of each, printed when training starts."""

from collections.abc import Sequence
from typing import Any

from lightning.pytorch.callbacks import ModelSummary
from lightning.pytorch.utilities.model_summary.model_summary import get_human_readable_count


class ParameterCounts(ModelSummary):
    """Lightning's model summary as plain lines: name, class and number of parameters of each part, and their sum."""

    @staticmethod
    def summarize(
        summary_data: Sequence[tuple[str, list[str]]],
        total_parameters: int,
        trainable_parameters: int,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Prints the summary."""
        columns = dict(summary_data)
        table = [columns[name] for name in ("Name", "Type", "Params")]
        names, classes, counts = ([cell.strip() for cell in column] for column in table)
        widths = [max(map(len, column), default=0) for column in (names, classes, counts)]
        for name, kind, count in zip(names, classes, counts, strict=True):
            print(f"  {name:<{widths[0]}}  {kind:<{widths[1]}}  {count:>{widths[2]}}")
        total, frozen = (
            get_human_readable_count(int(count)).strip()
            for count in (total_parameters, total_parameters - trainable_parameters)
        )
        fixed = "" if frozen == "0" else f", of which {frozen} are not trained"
        print(f"{total} parameters{fixed}", flush=True)
