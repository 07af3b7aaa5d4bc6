"""The search for the largest batch that fits into memory."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from common.data.datamodule import ConditionalDataModule


@dataclass(frozen=True)
class BatchFinder:
    """Trains with the largest batch that fits; config.yaml then holds its size, and a resumed run keeps it.

    Attributes:
        mode: "power" doubles data.batch_size (of text data.batch_tokens) until a step does not fit, or halves it until
            one does; "bisect" then also tries sizes in between, to a sixteenth; "off" trains with the given size.
        most: largest size to try; None goes on to the whole training data as one batch.
        memory_mb: most memory to take, MB of 2^20 bytes: on a GPU what torch allocates, where None is all there is; on
            a CPU the resident memory of the process, which has to be stated.
    """

    mode: Literal["off", "power", "bisect"] = "off"
    most: int | None = None
    memory_mb: float | None = None

    def __post_init__(self) -> None:
        for name in ("most", "memory_mb"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"batch_finder.{name} must be at least 1; got {value}")

    @property
    def on(self) -> bool:
        """Whether there is something to find."""
        return self.mode != "off"

    def check(self, subcommand: str, resumes: bool, callbacks: list[str]) -> None:
        """Refuses a search where the size of the batch is settled, and that of Lightning.

        Args:
            subcommand: fit, validate, test or predict.
            resumes: whether a training goes on.
            callbacks: class paths of the configured callbacks.

        Raises:
            ValueError: naming the command or the callback.
        """
        if any(path.endswith("BatchSizeFinder") for path in callbacks):
            raise ValueError(
                "trainer.callbacks has Lightning's BatchSizeFinder, after which a training is not that of the size "
                "found: give --batch_finder.mode power instead"
            )
        if self.on and (subcommand != "fit" or resumes):
            what = "a resumed training keeps its size" if resumes else f"{subcommand} trains nothing"
            raise ValueError(f"batch_finder is for a new training: {what}. Leave batch_finder.mode {self.mode} out")

    def find(self, data: ConditionalDataModule, fails: Callable[[int], str | None]) -> tuple[int, str]:
        """The size, and a sentence on what was found.

        Args:
            data: the data, whose `batch_size` is tried first.
            fails: why a step with a batch of some size does not fit; None if it does.

        Raises:
            ValueError: if not even the smallest batch fits.
        """
        whole = data.whole_batch
        most = whole if self.most is None else min(whole, self.most)
        fits: int | None = None
        least: int | None = None  # the least size that is known not to fit
        name, why = f"data.{data.batch_option.rpartition('.')[2]}", ""
        size = min(data.batch_size, most)
        while True:
            reason = fails(size)
            if reason is None:
                fits = size
            else:
                least, why = size, reason
            if fits == most:
                break
            if least is None:
                size = min(2 * size, most)
            elif fits is None:
                if size == 1:
                    raise ValueError(f"batch_finder: not even {name} 1 fits ({why})")
                size = size // 2
            elif self.mode == "bisect" and least - fits > max(1, fits // 16):
                size = (fits + least) // 2
            else:
                break
        ended = ": the whole training data are one batch" if most == whole else ", as batch_finder.most says"
        ended = ended if least is None else f"; with {least:,}, {why}"
        return fits, f"batch_finder: {name} is {fits:,}{ended}"
