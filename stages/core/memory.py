"""How much memory a job took, and how much the machine has: what a plan prints and refuses by."""

import os
import resource
from pathlib import Path


def reset_peak() -> None:
    """Start a new measurement of this process's peak (Linux; elsewhere the peak stays that of the process's life)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass


def peak_bytes() -> int:
    """Return the most memory that was resident at once since `reset_peak`."""
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
