"""Command lines of scripts: a person's mistake ends in one line that names it, and not in a traceback."""

import argparse
import atexit
import difflib
import errno
import gc
import math
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from common.paths import ELSEWHERE, FULL

OTHER = re.compile(r"Expected '([^']+)' to be (?:a subclass of|a function that returns) ([^\n]+?)\.(?=[.\s]|$)")
DENIED = re.compile(r"Importing '([^']+)' is not allowed")  # jsonargparse's words for what it may not import
# What a person can cause: values, files, configurations, packages that are not installed. Anything else is our mistake.
LONGEST = 1000  # most characters of a message: an error may quote a whole file
MISTAKES = (ValueError, OSError, ImportError, NotImplementedError, argparse.ArgumentError)


def run_script(
    parser: argparse.ArgumentParser,
    work: Callable[[argparse.Namespace], int | None],
    words: Sequence[str] | None = None,
) -> int:
    """Parses a command line and does the work; returns the exit status, 2 after a mistake, which is printed in a line.

    Args:
        parser: the command line; its `prog` is the name of the script.
        work: does what is asked for, and returns an exit status, or None for 0.
        words: the command line; None takes that of the process.
    """
    arguments = parser.parse_args(words)
    atexit.register(gc.freeze)  # or the end of the process searches all that torch has made: half a second
    try:
        return work(arguments) or 0
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted", file=sys.stderr)
        return 130
    except MISTAKES as error:
        print(f"{parser.prog}: {one_line(error)}", file=sys.stderr)
        return 2


def run_training(name: str, main: Callable[[], object]) -> None:
    """Runs a training script; a person's mistake ends in one line and status 2. $SUITE_TRACEBACK shows the traceback.

    Args:
        name: name of the script.
        main: its command line.
    """
    atexit.register(gc.freeze)
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(f"{name}: interrupted")
    except SystemExit as ending:
        if type(ending).__name__ == "SIGTERMException":  # Lightning's, which has no status: it would count as success
            print(f"{name}: stopped by SIGTERM", file=sys.stderr)
            sys.exit(128 + signal.SIGTERM)
        raise
    except Exception as error:
        # Lightning's and torch's complaints about a configuration are RuntimeErrors or derive from Exception alone.
        mistake = (
            isinstance(error, (*MISTAKES, RuntimeError, FloatingPointError))
            or type(error).__name__ == "MisconfigurationException"
        )
        if not mistake or os.environ.get("SUITE_TRACEBACK"):
            raise
        print(f"{name}: {one_line(error)}", file=sys.stderr)
        sys.exit(2)


def one_line(error: BaseException) -> str:
    """What an error says, in one line; errors of the system begin with the file."""
    text = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        named = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        text = f"{named}{error.strerror[:1].lower()}{error.strerror[1:]}"
    if isinstance(error, OSError) and error.errno in (*FULL, errno.EROFS):
        text += f": {'make room there, or ' if error.errno in FULL else ''}{ELSEWHERE}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    key = re.search(r'Parser key "([^"]+)"', text)
    place = "" if key is None else f"{key[1]}: "
    if denied := DENIED.search(text):
        return (
            f"{place}{denied[1]} is not part of the suite: to import it would run its code. If you trust it, set "
            f"SUITE_ALLOW={denied[1].partition('.')[0]}"
        )
    if other := OTHER.search(text):
        wanted = re.sub(r"<class '(.+)'>", r"\1", other[2])
        return f"{place}{other[1]} is no subclass of {wanted}"
    # jsonargparse lists what each alternative of a type complains about; only the first one is the person's.
    complaints = re.split(r"\n\s*- ", text)[1:]
    causes = [cause for cause in complaints if not cause.startswith("Expected a <")]
    if "Union subtypes" in text and causes:
        return _plain(" ".join(causes[0].split()))
    value = re.search(r"Given value: (.*)", text)
    types = re.findall(r"Expected an? <class '(?:\w+\.)*(\w+)'>", text)
    if key and value and types:
        return f"{key[1]}: {value[1]} is no {' or '.join(dict.fromkeys(types))}"
    return _plain("; ".join(lines))[:LONGEST]


def _plain(text: str) -> str:
    """A complaint of jsonargparse in the words of a person: `batch_size: ten is no int`."""
    text = re.sub(r"Problem with given class_path '(?:\w+\.)*(\w+)':", r"\1:", text)
    text = re.sub(r'Parser key "([^"]+)":;? ', r"\1: ", text)
    return re.sub(r"Expected an? <class '(?:\w+\.)*(\w+)'>\. Got value: (.*)", r"\2 is no \1", text)


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line; a mistyped option or choice is named with the closest right one."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As in the base, after a search for unknown options: the base would take their values for something else."""
        words = list(sys.argv[1:] if args is None else args)
        for word in words:
            if word == "--" or (self._subparsers is not None and not word.startswith("-")):
                break  # what follows a verb is for the verb's own parser
            name = word.partition("=")[0]
            if _is_option(word) and not self._knows(name):
                close = meant(f"--{name.lstrip('-').replace('_', '-').lower()}", self._option_string_actions)
                place = "" if self._subparsers is None else "; options come after the verb"
                self.error(f"unknown option {name}{close or place}")
        return super().parse_known_args(words, namespace)

    def _knows(self, name: str) -> bool:
        known = self._option_string_actions
        if name.startswith("--"):
            return any(option.startswith(name) for option in known)
        return name in known or name[:2] in known

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Names the closest choice."""
        if action.choices is not None and value not in action.choices:
            choices = [str(choice) for choice in action.choices]
            raise argparse.ArgumentError(
                action, f"{str(value)!r} is not one of {', '.join(choices)}{meant(str(value), choices)}"
            )

    def error(self, message: str) -> NoReturn:
        """Prints one line and ends the process with status 2."""
        self.exit(2, f"{self.prog.partition(' ')[0]}: {message.removeprefix('argument ')}\n")


def _is_option(word: str) -> bool:
    return word.startswith("-") and word != "-" and " " not in word and not re.fullmatch(r"-\d+|-\d*\.\d+", word)


def meant(word: str, known: Iterable[str]) -> str:
    """The question whether the closest known word was meant; empty if none is close."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.65)
    return f": did you mean {close[0]}?" if close else ""


def whole(low: int = 0, high: int = 2**63 - 1) -> Callable[[str], int]:
    """The type of an option: a whole number from `low` to `high`, both included."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if not low <= value <= high:
            limit = f"at least {low}" if value < low else f"at most {high}"
            raise argparse.ArgumentTypeError(f"must be {limit}; got {text}")
        return value

    return convert


def real(low: float = -math.inf, high: float = math.inf, above: bool = False) -> Callable[[str], float]:
    """The type of an option: a finite number from `low` to `high`, both included unless it must lie above `low`."""

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
        if not (math.isfinite(value) and low <= value <= high) or (above and value == low):
            limits = [f"{'above' if above else 'at least'} {low:g}"] if math.isfinite(low) else ["finite"]
            limits += [f"at most {high:g}"] if math.isfinite(high) else []
            raise argparse.ArgumentTypeError(f"must be {' and '.join(limits)}; got {text}")
        return value

    return convert


def device(text: str) -> str:
    """The type of an option: a device that this machine has."""
    import torch  # only where the option is given

    try:
        torch.empty(0, device=text)
    except (RuntimeError, AssertionError):
        gpus = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
        known = ", ".join(["cpu", *gpus, *(["mps"] if torch.backends.mps.is_available() else [])])
        raise argparse.ArgumentTypeError(f"{text!r} is no device of this machine; there is {known}") from None
    return text


def file_to_read(text: str) -> Path:
    """The type of an option: an existing file, or `-` for the standard input."""
    path = Path(text)
    if text != "-" and not path.is_file():
        problem = "is a folder: name a file" if path.is_dir() else "does not exist"
        raise argparse.ArgumentTypeError(f"{path} {problem}")
    if text != "-" and not os.access(path, os.R_OK):
        raise argparse.ArgumentTypeError(f"{path} may not be read: permission denied")
    return path


def input_to_read(text: str) -> Path:
    """The type of an option: an existing file or folder, or `-` for the standard input."""
    return Path(text) if Path(text).is_dir() else file_to_read(text)


def file_to_write(text: str) -> Path:
    """The type of an option: a file that can be written; what writes it makes its folder."""
    if Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder: name a file")
    return place_to_write(text)


def folder_to_write(text: str) -> Path:
    """The type of an option: a folder that can be written, or made."""
    if Path(text).is_file():
        raise argparse.ArgumentTypeError(f"{text} is a file: name a folder")
    return place_to_write(text)


def place_to_write(text: str) -> Path:
    """The type of an option: a file or folder that can be written; what writes it makes its folder."""
    path = Path(text)
    existing = next(place for place in (path, *path.absolute().parents) if place.exists())
    if existing != path and not existing.is_dir():
        raise argparse.ArgumentTypeError(f"{path} cannot be made: {existing} is a file, not a folder")
    if not os.access(existing, os.W_OK):
        raise argparse.ArgumentTypeError(f"{path} cannot be written: permission denied for {existing}")
    return path


def not_an_input(out: Path | None, inputs: Sequence[Path]) -> None:
    """Raises ValueError if a file that is read would be written over."""
    for path in inputs if out is not None and str(out) != "-" else []:
        if path.exists() and out is not None and out.exists() and out.samefile(path):
            raise ValueError(f"--out {out} would write over an input: name another file")
