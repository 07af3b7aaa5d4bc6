"""The process of W&B: its calls are bounded in time, and it is ended where it has failed."""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lightning_utilities.core.rank_zero import rank_zero_warn

WAIT = 8.0  # seconds that W&B may take to reach its server at the start of a run,
UPLOAD = 60.0  # to upload the rest at its end,
PATIENCE = 20.0  # and for anything else: where its process hangs, W&B itself would wait for ever
_staged = False  # whether $WANDB_DATA_DIR is the suite's


def one_line(error: Exception) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def abandon() -> None:
    """Ends W&B's run and its process, which have failed; a later run begins anew."""
    import wandb

    run, wandb.run = wandb.run, None
    # Where the process is dead, `finish` fails before it leaves the standard output alone.
    ends = [wandb.teardown] if run is None else [run.finish, run._console_stop, wandb.teardown]
    for end in ends:
        with contextlib.suppress(Exception, SystemExit), bounded(WAIT):
            end()


@contextlib.contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """A call of W&B that takes no longer: its process is killed then, and the call fails."""
    timer = threading.Timer(seconds, _process_of_wandb().kill)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _process_of_wandb() -> Any:
    """The process that W&B has started, which it keeps to itself; without one, something that can be killed in vain."""
    from wandb.sdk import wandb_setup

    connection = getattr(wandb_setup.singleton(), "_connection", None)
    process = getattr(getattr(connection, "_proc", None), "_process", None)
    return process or SimpleNamespace(kill=lambda: None)


def stage_in(folder: Path) -> None:
    """Has W&B keep what it will upload in a folder, unless `$WANDB_DATA_DIR` names another; else it is in the home."""
    global _staged
    if _staged or "WANDB_DATA_DIR" not in os.environ:
        os.environ["WANDB_DATA_DIR"] = os.fspath(folder)
        _staged = True


def link(log: Path, links: Path) -> None:
    """Makes a link to the log of a run in the folder of links, and removes those of runs that are gone."""
    with contextlib.suppress(OSError):  # a file system without links has none
        links.mkdir(parents=True, exist_ok=True)
        for old in links.iterdir():
            if old.is_symlink() and not old.exists():
                old.unlink(missing_ok=True)
        place = links / log.name
        if not place.is_symlink():
            place.symlink_to(os.path.relpath(log.resolve(), links.resolve()), target_is_directory=True)


def finish_wandb() -> None:
    """Ends W&B's run of this process, if it has one: the next training would log into it."""
    try:
        _finish(sys.modules.get("wandb"))
    finally:
        _leave_stage()


def _finish(wandb: Any) -> None:
    if wandb is None or wandb.run is None:
        return
    folder = wandb.run.settings.sync_dir
    try:
        with bounded(PATIENCE if wandb.run.offline else UPLOAD + WAIT):
            wandb.finish()
    except Exception as error:
        rank_zero_warn(
            f"W&B has failed at the end of the run ({one_line(error)}). To upload what is missing: wandb sync {folder}",
            category=UserWarning,
        )
        abandon()


def _leave_stage() -> None:
    global _staged
    if _staged:
        os.environ.pop("WANDB_DATA_DIR", None)
        _staged = False
