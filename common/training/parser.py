"""The parser of a training script: a mistake ends in one line that names it."""

import re
import sys
from typing import Any, NoReturn

from jsonargparse import ArgumentParser
from lightning.pytorch.cli import LightningArgumentParser

from common.command_line import meant, one_line


class SuiteParser(LightningArgumentParser):
    """Lightning's parser without its usage of many lines; unknown options are named with the closest right one."""

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
        sys.stderr.write(f"{script}: {one_line(ValueError(message))} (all options: {script} fit --help)\n")
        self.exit(2)
