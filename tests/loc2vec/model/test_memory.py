"""The memory that is kept for the network, and by how many."""

import subprocess
import sys

import pytest

MB, THREADS = 40, 8
KEPT = f"""
import sys, threading
from pathlib import Path
import numpy as np
import torch
from loc2vec.model.compute import keep_freed_memory

def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

def work():
    with turn:
        np.ones({MB} * 125_000)  # and it is free again
    met.wait()
    met.wait()

keep_freed_memory(torch.device("cpu"))
turn, met, before = threading.Lock(), threading.Barrier({THREADS} + 1), resident_mb()
for _ in range({THREADS}):
    threading.Thread(target=work).start()
met.wait()
print(resident_mb() - before)
met.wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's way of keeping memory")
def test_what_threads_freed_is_kept_once_for_them_all() -> None:
    done = subprocess.run([sys.executable, "-c", KEPT], capture_output=True, text=True, check=True)
    assert MB / 2 < float(done.stdout) < 2 * MB
