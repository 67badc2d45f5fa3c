"""How much memory a job took, and how much the machine has: what a plan prints and refuses by."""

import contextlib
import os
import resource
from pathlib import Path


class MemoryMeter:
    """Measures what a job takes on top of what its process held when it began (Linux; elsewhere the peak is that of the process's life)."""

    def __init__(self) -> None:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from what is resident now
        self._before = _peak_bytes()

    def added_bytes(self) -> int:
        """Return the most memory that was resident at once since the meter was made, less what was there then."""
        return _peak_bytes() - self._before


def _peak_bytes() -> int:
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def machine_bytes() -> int:
    """Return the memory of this machine, or of the control group that it may use."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        limit = "max"
    return total if limit == "max" else min(total, int(limit))
