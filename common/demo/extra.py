"""Gradio, which draws the page, and what it is told before it is imported."""

import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # nothing is told to anybody
try:
    import gradio
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("the demo needs Gradio: pip install --editable '.[demo]'") from error

__all__ = ["gradio"]
