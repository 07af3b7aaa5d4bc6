"""The page: a tab for each model, whose controls come from its checkpoint."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from common.command_line import MISTAKES, one_line
from common.demo.extra import gradio as gr
from common.demo.session import KEPT, NOT_GIVEN, Session

SOUNDS = 4  # players on the page
MOST = {"/": SOUNDS, ".txt": 16, ".png": 64, ".csv": 64}  # samples at once
LARGEST = "10mb"  # file that may be uploaded
REACH = 4.0  # of the sliders of z, whose prior has a scale of about 1
MODEL = "model"  # events of one name wait for each other: torch has one generator


def page(sessions: Sequence[Session]) -> Any:
    """The page of some models.

    Args:
        sessions: the models; their names differ.

    Raises:
        ValueError: for a model whose samples are neither pictures, sounds, texts nor tables.
    """
    for session in sessions:
        if session.suffix not in MOST:
            raise ValueError(f"{session.name} has no file format whose samples the page can show")
    with gr.Blocks(title="cvae-suite", analytics_enabled=False, delete_cache=(KEPT, KEPT)) as blocks:
        gr.Markdown("# Conditional variational autoencoders")
        for session in sessions:
            with gr.Tab(session.name):
                _generation(session, "" if len(sessions) == 1 else f"{session.name}_")
    return blocks


def launch(blocks: Any, port: int | None, wait: bool) -> str:
    """Shows the page to this machine alone, and returns its address.

    Args:
        blocks: the page.
        port: where; None takes one that is free, from 7860 on.
        wait: whether to wait until the process is interrupted.

    Raises:
        OSError: if the port is taken.
    """
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])  # none from a network
    _, address, _ = blocks.queue(default_concurrency_limit=1).launch(
        server_name="127.0.0.1", server_port=port, share=False, quiet=True, prevent_thread_lock=True,
        max_file_size=LARGEST, theme=theme, footer_links=["api"],
    )  # fmt: skip
    print(f"the page is at {address}; Ctrl+C ends it", flush=True)
    if wait:
        blocks.block_thread()
    return str(address)


class Controls:
    """Controls of a condition, and how their values become one."""

    def __init__(self, session: Session, prefix: str, optional: bool) -> None:
        self.names: list[str] = []
        self.components: list[Any] = []
        for name, values in session.categories.items():
            first = NOT_GIVEN if optional else values[0]
            self._add(name, gr.Dropdown([NOT_GIVEN, *values], value=first, label=f"{prefix}{name}"))
        for name, number in session.numbers.items():
            value = None if optional else round(number.mean, 3)
            about = f"{number.low:.4g} to {number.high:.4g} in training"
            self._add(name, gr.Number(value, label=f"{prefix}{name}", info=about))
        for name in session.texts:
            self._add(name, gr.Textbox(label=f"{prefix}{name}"))
        self.cells = None
        if session.cells and not optional:
            self.cells = gr.Dataframe(
                [[""] * len(session.cells)], headers=session.cells, type="array", label="known cells; empty ones are "
                "generated", interactive=True, row_count=1, column_count=len(session.cells),
            )  # fmt: skip
            self.components.append(self.cells)
        self.columns = session.cells

    def _add(self, name: str, component: Any) -> None:
        self.names.append(name)
        self.components.append(component)

    def condition(self, values: Sequence[Any]) -> dict[str, Any]:
        """The condition by name, from the values of the components."""
        given = dict(zip(self.names, values, strict=False))
        if self.cells is not None:
            given |= {name: cell for name, cell in zip(self.columns, values[-1][0], strict=True) if cell != ""}
        return given


def _generation(session: Session, prefix: str) -> None:
    """The tab of a model."""
    with gr.Row():
        with gr.Column():
            controls = Controls(session, "", optional=False)
            number = gr.Slider(1, MOST[session.suffix], value=min(16, MOST[session.suffix]), step=1, label="samples")
            with gr.Accordion("further options", open=False):
                temperature = gr.Slider(0, 2, value=1, step=0.05, label="temperature", info="scale of z around the "
                                        "mean of its prior")  # fmt: skip
                guidance = gr.Slider(
                    0, 5, value=1, step=0.1, label="guidance", info="above 1 exaggerates the condition"
                )
                seed = gr.Number(0, precision=0, label="seed")
            shifts = []
            with gr.Accordion("latent: what is added to z", open=False):
                for unit in session.units.tolist():
                    shifts.append(gr.Slider(-REACH, REACH, value=0, step=0.1, label=f"unit {unit}"))
            button = gr.Button("Generate", variant="primary")
        with gr.Column():
            shown = Shown(session, "samples")
    count = len(controls.components)

    def generate(*values: Any) -> Any:
        number_, temperature_, guidance_, seed_, *shifts_ = values[count:]
        condition = controls.condition(values[:count])
        return shown.values(session.generate(condition, number_, temperature_, guidance_, seed_, shifts_))

    inputs = [*controls.components, number, temperature, guidance, seed, *shifts]
    _on([button.click, *(slider.release for slider in shifts)], generate, inputs, shown, f"{prefix}generate")
    if session.transfers:
        with gr.Accordion("Transfer: an example of yours under another condition", open=False):
            _transfer(session, prefix)
    if session.fill is not None:
        with gr.Accordion("Imputation: the empty cells of a table of yours", open=False):
            _imputation(session, prefix)


def _transfer(session: Session, prefix: str) -> None:
    with gr.Row():
        with gr.Column():
            example = {
                ".png": lambda: gr.Image(type="filepath", format="png", label="picture", sources=["upload"]),
                "/": lambda: gr.Audio(type="filepath", label="clip", sources=["upload", "microphone"]),
                ".txt": lambda: gr.Textbox(label="sentence"),
            }[session.suffix]()
            own = Controls(session, "its own ", optional=True)
            other = Controls(session, "becomes: ", optional=True)
            guidance = gr.Slider(0, 5, value=1, step=0.1, label="guidance")
            button = gr.Button("Transfer", variant="primary")
        with gr.Column():
            shown = Shown(session, "result")
    count = len(own.components)

    def transfer(given: Any, guidance_: float, *values: Any) -> Any:
        if not given:
            raise ValueError("give an example first")
        file = given if session.suffix == ".txt" else Path(given)
        condition = other.condition(values[count:])
        return shown.values(session.transfer(file, own.condition(values[:count]), condition, guidance_))

    inputs = [example, guidance, *own.components, *other.components]
    _on([button.click], transfer, inputs, shown, f"{prefix}transfer")


def _imputation(session: Session, prefix: str) -> None:
    with gr.Row():
        with gr.Column():
            table = gr.File(label="table: CSV, TSV, JSONL, Parquet or Excel", type="filepath")
            button = gr.Button("Fill its empty cells", variant="primary")
        with gr.Column():
            notes = gr.Textbox(label="what was done", lines=3)
            filled = gr.File(label="filled table")

    def impute(path: str | None) -> tuple[str, str]:
        if path is None:
            raise ValueError("give a table first")
        file, said = session.imputed(Path(path))
        return "\n".join(said), str(file)

    button.click(_told(impute), table, [notes, filled], api_name=f"{prefix}impute", concurrency_id=MODEL)


class Shown:
    """Where samples appear: pictures, players, texts or a table, and the file to download."""

    def __init__(self, session: Session, label: str) -> None:
        self.suffix = session.suffix
        self.components: list[Any]
        if self.suffix == "/":
            self.components = [gr.Audio(type="filepath", label=f"clip {n + 1}", visible=n == 0) for n in range(SOUNDS)]
            return
        kind = {
            ".png": lambda: gr.Image(type="filepath", format="png", label=label),
            ".txt": lambda: gr.Textbox(label=label, lines=8),
            ".csv": lambda: gr.Dataframe(label=f"{label}, to four digits"),
        }[self.suffix]()
        self.components = [kind, gr.File(label="download")]

    def values(self, files: Sequence[Path]) -> Any:
        """What the components show of some files."""
        if self.suffix == "/":
            there = [gr.update(value=str(file), visible=True) for file in files[:SOUNDS]]
            return there + [gr.update(value=None, visible=False)] * (SOUNDS - len(there))
        (file,) = files
        if self.suffix == ".txt":
            return file.read_text(encoding="utf-8"), str(file)
        if self.suffix == ".csv":
            import pandas as pd

            return pd.read_csv(file).map(_four_digits), str(file)
        return str(file), str(file)


def _four_digits(cell: Any) -> Any:
    return float(f"{cell:.4g}") if isinstance(cell, float) else cell


def _on(events: Sequence[Any], work: Callable[..., Any], inputs: list[Any], shown: Shown, name: str) -> None:
    """Has events do a piece of work; the first has a name for programs."""
    for number, event in enumerate(events):
        visible = {"api_name": name} if number == 0 else {"api_visibility": "private"}
        event(_told(work), inputs, shown.components, concurrency_id=MODEL, **visible)


def _told(work: Callable[..., Any]) -> Callable[..., Any]:
    """The same work, after a mistake of which the page says what it was."""

    def run(*values: Any) -> Any:
        try:
            return work(*values)
        except MISTAKES as error:
            raise gr.Error(one_line(error), print_exception=False) from error

    return run
