"""What a job took, and what the machine has."""

import os
import subprocess
import sys
from pathlib import Path

from stages.core.memory import machine_bytes

JOB = """
import numpy as np
from stages.core.memory import MemoryMeter

before = MemoryMeter()
block = np.ones(30_000_000)  # 240 MB
assert before.added_bytes() > 0.9 * block.nbytes, before.added_bytes()
del block
after = MemoryMeter()
small = np.ones(10_000_000)
assert 0.8 * small.nbytes < after.added_bytes() < 200_000_000, after.added_bytes()
"""


def test_a_meter_sees_what_came_after_it():
    """In a process of its own: here threads of other tests may free what they held in the meantime."""
    done = subprocess.run([sys.executable, "-c", JOB], cwd=Path(__file__).parents[3], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_machine_has_some_memory():
    assert 100_000_000 < machine_bytes() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
