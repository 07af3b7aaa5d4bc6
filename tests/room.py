"""Files that cannot grow, as on a full disk; it needs no rights, and any machine of Linux or macOS has it."""

import resource
from contextlib import contextmanager


@contextmanager
def little_room(size):
    """Within it a file of this process cannot have more than `size` bytes: the system refuses to write (EFBIG)."""
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))
