"""What a job took, and what the machine has."""

import os

import numpy as np

from stages.core.memory import MemoryMeter, machine_bytes


def test_a_meter_sees_what_came_after_it():
    before = MemoryMeter()
    block = np.ones(30_000_000)  # 240 MB
    assert before.added_bytes() > 0.9 * block.nbytes
    del block
    after = MemoryMeter()
    small = np.ones(10_000_000)
    assert 0.8 * small.nbytes < after.added_bytes() < 200_000_000


def test_a_machine_has_some_memory():
    assert 100_000_000 < machine_bytes() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
