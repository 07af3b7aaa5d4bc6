"""Where a run comes from: the revision of the code and the hash of the configuration."""

import hashlib
import json
import subprocess
from typing import Any

PLACES = ("run", "wandb", "loggers")  # options of where a run is stored and logged
FOUND = ("batch_finder",)  # what it finds is an option of the data
ARGUMENTS = ("ckpt_path", "config", "verbose", "weights_only", "return_predictions")  # of the subcommands


def git_revision() -> str:
    """Revision of the working directory's repository, `unknown` outside one.

    It ends in `-dirty` where files have changed, other than the documents that a table's results are written into.
    """
    code = [":(top)", ":(top,exclude)docs", ":(top,exclude)*.md"]
    try:
        command = ["git", "rev-parse", "--short=12", "HEAD"]
        revision = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", *code], capture_output=True, check=False)
        return revision + ("-dirty" if changed.returncode else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def code_difference() -> str:
    """What has changed in the code since the revision of `git_revision`, as a patch; empty where nothing has."""
    try:
        command = ["git", "diff", "HEAD", "--", ":(top)", ":(top,exclude)docs", ":(top,exclude)*.md"]
        return subprocess.run(command, capture_output=True, text=True, check=True, errors="replace").stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


def config_hash(config: dict[str, Any]) -> str:
    """Hash of what determines a run's outcome apart from its seed: all options but where it is stored and logged.

    It is the same for every subcommand. Options that are not set do not count, so that a new one changes no hash.
    """
    ignored = (*PLACES, *FOUND, "seed_everything", *ARGUMENTS)
    relevant = {key: value for key, value in config.items() if key not in ignored}
    return hashlib.sha256(json.dumps(_set(relevant), sort_keys=True, default=str).encode()).hexdigest()[:12]


def _set(value: Any) -> Any:
    """Without the entries of dictionaries that are None."""
    if isinstance(value, dict):
        return {key: _set(entry) for key, entry in value.items() if entry is not None}
    return [_set(entry) for entry in value] if isinstance(value, list) else value
