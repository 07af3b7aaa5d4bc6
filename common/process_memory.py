"""Memory of this process."""

import ctypes
import resource
import sys
from pathlib import Path

import torch


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory of this process, MB of 2^20 bytes: what torch allocated on a CUDA device, else resident memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    # On Linux a process inherits the peak of getrusage from its parent; its own peak is in /proc.
    unit = 2**20 if sys.platform == "darwin" else 2**10  # macOS counts bytes, other systems kilobytes
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def restart_peak_memory() -> bool:
    """Sets the peak of resident memory to its present value; false where the system (not Linux) cannot."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def release_memory() -> None:
    """Gives memory that was freed back to the system, which the C library of Linux would keep for the process."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)


def resident_memory_mb() -> float:
    """Resident memory of this process now, MB of 2^20 bytes; 0 where the system does not report it."""
    return _status("VmRSS")


def private_memory_mb() -> float:
    """Memory of this process that is no file's, MB of 2^20 bytes; 0 where the system does not report it.

    What is read of a memory-mapped file is resident as well, and is given up when others need room.
    """
    return _status("RssAnon")


def _status(name: str) -> float:
    file = Path("/proc/self/status")
    lines = file.read_text().splitlines() if file.exists() else []
    return next((int(line.split()[1]) / 2**10 for line in lines if line.startswith(f"{name}:")), 0.0)
