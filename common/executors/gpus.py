"""The GPUs of this machine, divided among jobs that run at the same time."""

import os

import torch


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name]
    return [str(number) for number in range(torch.cuda.device_count())]


def shares_of_gpus(parallel: int) -> list[str | None]:
    """The GPUs of each of some jobs at the same time; None without any. With fewer GPUs than jobs, some share one."""
    names = visible_gpus()
    if not names:
        return [None] * parallel
    size = max(1, len(names) // parallel)
    return [",".join(names[slot * size % len(names) :][:size]) for slot in range(parallel)]
