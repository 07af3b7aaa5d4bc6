"""Faulty files and rows, which are named all at once and refused, or left out."""

from typing import Literal

from lightning_utilities.core.rank_zero import rank_zero_warn

Faulty = Literal["raise", "skip"]
REMEDY = "remove or replace them, or leave them out with data.faulty skip"
NAMED = 10  # most faults that a message names


class Faults:
    """Collects what is faulty in a collection.

    Args:
        of: what is counted, "images" or "files".
        remedy: what a person can do about it.
    """

    def __init__(self, of: str, remedy: str = REMEDY) -> None:
        self.of, self.remedy = of, remedy
        self.found: list[str] = []

    def add(self, fault: object) -> None:
        """Adds a fault, which names its file, row or line."""
        self.found.append(str(fault))

    def settle(self, total: int, faulty: Faulty = "raise") -> None:
        """Raises ValueError if there are faults, or warns of those that are skipped; both name the first ones.

        Args:
            total: how many files there are.
            faulty: whether to raise or to skip; when all are faulty it raises in any case.
        """
        if not self.found:
            return
        named = "; ".join(self.found[:NAMED]) + (f"; and {more} more" if (more := len(self.found) - NAMED) > 0 else "")
        message = f"{len(self.found):,} of {total:,} {self.of} are faulty: {named}"
        if faulty == "raise" or len(self.found) >= total:
            raise ValueError(f"{message}. Remedy: {self.remedy}")
        rank_zero_warn(f"left out: {message}", category=UserWarning)
