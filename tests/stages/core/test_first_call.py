"""Processes that meet a kernel for the first time together compile it once."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = """
import pyarrow as pa
from stages.core.first_call import one_at_a_time
from stages.kernels import xxhash64
from stages.kernels.text_view import text_view
with one_at_a_time(NAME):
    xxhash64.hash_documents(text_view(pa.array(["text"])))
print(sum(xxhash64._hash.stats.cache_misses.values()))
"""


def test_three_processes_compile_once(tmp_path):
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    script = SCRIPT.replace("NAME", repr(f"test-{os.getpid()}"))
    running = [subprocess.Popen([sys.executable, "-c", script], env=env, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    compiled = [int(process.communicate()[0]) for process in running]
    assert sorted(compiled) == [0, 0, 1]
