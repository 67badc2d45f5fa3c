"""What a process held, and what the machine has."""

import os

import numpy as np

from stages.core.memory import machine_bytes, peak_bytes, reset_peak


def test_the_peak_is_that_since_the_last_reset():
    block = np.ones(30_000_000)  # 240 MB
    assert peak_bytes() > block.nbytes
    del block
    reset_peak()
    after = peak_bytes()
    small = np.ones(10_000_000)
    assert peak_bytes() - after > 0.8 * small.nbytes
    assert peak_bytes() - after < 200_000_000


def test_a_machine_has_at_least_what_this_process_holds():
    assert peak_bytes() < machine_bytes() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
