"""The run record in results.json of a method that the suite does not train."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import torch

from common.process_memory import peak_memory_mb
from common.results import RunInfo
from common.training.tracking.provenance import config_hash, git_revision


def baseline_run(
    name: str, modality: str, seed: int, started: datetime, options: Mapping[str, Any], fingerprint: str
) -> RunInfo:
    """The run record of a method that ran in this process from `started` until now.

    Args:
        name: name of the method.
        modality: modality of its data.
        seed: seed of the run.
        started: start time, UTC.
        options: further options that its figures depend on.
        fingerprint: fingerprint of the data.
    """
    return RunInfo(
        id=f"{name}-s{seed}",
        name=name,
        modality=modality,
        seed=seed,
        git=git_revision(),
        config_hash=config_hash({"method": name, **options}),
        data_fingerprint=fingerprint,
        started=started.isoformat(timespec="seconds"),
        seconds=round((datetime.now(UTC) - started).total_seconds(), 1),
        device=f"cpu, {torch.get_num_threads()} threads",
        peak_memory_mb=round(peak_memory_mb(torch.device("cpu")), 1),
        parameters=0,
    )
