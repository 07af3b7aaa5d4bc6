"""A latent model in Lightning: steps, checkpoints, the command line and its callbacks."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from common.training.module import ConditionalELBO

__all__ = ["ConditionalELBO"]


def __getattr__(name: str) -> Any:
    """ConditionalELBO is imported when it is asked for: a report of results needs no Lightning."""
    if name == "ConditionalELBO":
        from common.training.module import ConditionalELBO

        return ConditionalELBO
    raise AttributeError(f"module {__name__} has no attribute {name}")
