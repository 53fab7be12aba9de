"""Metrics of several processes lie in files, which a disk that fills up cannot take away."""

import os
import subprocess
import sys
from pathlib import Path

from service.observe.metrics import FILES, SHARED

USE = """
from service.observe.metrics import *
for route in range(30):
    LATENCY.labels(f"/a-long-route/{route}").observe(1)
    for status in range(5):
        REQUESTS.labels("GET", f"/a-long-route/{route}", status).inc()
QUEUE.set(1)
INDEX_SIZE.set(1)
"""


def test_the_files_have_no_holes(tmp_path: Path) -> None:
    environment = os.environ | {SHARED: str(tmp_path)}
    subprocess.run([sys.executable, "-c", USE], check=True, env=environment)
    files = list(tmp_path.iterdir())
    assert {file.name.rpartition("_")[0] for file in files} == set(FILES)
    for file in files:
        status = file.stat()
        assert status.st_blocks * 512 >= status.st_size, file.name
