"""Memory of this process."""

import resource
from pathlib import Path

import torch


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory of this process, MB of 2^20 bytes: what torch allocated on a CUDA device, else resident memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    # On Linux a process inherits the peak of getrusage from its parent; its own peak is in /proc.
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def resident_memory_mb() -> float:
    """Resident memory of this process now, MB of 2^20 bytes; 0 where the system does not report it."""
    return _status("VmRSS")


def _status(name: str) -> float:
    file = Path("/proc/self/status")
    lines = file.read_text().splitlines() if file.exists() else []
    return next((int(line.split()[1]) / 2**10 for line in lines if line.startswith(f"{name}:")), 0.0)
