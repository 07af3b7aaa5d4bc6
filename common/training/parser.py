"""The parser of a training script: a mistake ends in one line that names it."""

import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from jsonargparse import ArgumentParser
from lightning.pytorch.cli import LightningArgumentParser

from common.command_line import DENIED, meant, one_line
from common.configurable import small_file


class SuiteParser(LightningArgumentParser):
    """Lightning's parser without its usage of many lines; unknown options are named with the closest right one."""

    words: Sequence[str] = ()  # of the command line

    def parse_args(self, args: Any = None, *rest: Any, **options: Any) -> Any:
        """As in the base; keeps the words, whose files a mistake names."""
        self.words = [str(word) for word in (sys.argv[1:] if args is None else args)]
        return super().parse_args(args, *rest, **options)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Prints one line and ends the process with status 2, or raises where the parser shall not exit."""
        if not self.exit_on_error:
            super().error(message, ex)
        parser: ArgumentParser = getattr(ex, "subcommand_parser", None) or self
        known: Any = parser._option_string_actions
        unknown = re.search(r"unrecognized arguments: (--[\w.-]+)", message)
        if unknown:
            message = f"unknown option {unknown[1]}{meant(unknown[1], known)}"
        script = parser.prog.partition(" ")[0]
        denied = DENIED.search(message)
        file = "" if denied is None else _file(denied[1], self.words)
        sys.stderr.write(f"{script}: {file}{one_line(ValueError(message))} (all options: {script} fit --help)\n")
        self.exit(2)


def _file(name: str, words: Sequence[str]) -> str:
    """The last configuration file of a command line that has a name, for the beginning of a message."""
    pairs = zip(("", *words), words, strict=False)
    files = [word.removeprefix("--config=") for before, word in pairs if "--config" in (before, word.partition("=")[0])]
    found = [file for file in files if name in small_file(file)]
    return f"{found[-1]}: " if found else ""
