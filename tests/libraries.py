"""Imports before all others, of which the coverage traces only those that it measures.

Tracing them doubles the time of imports, and each process of tests imports all of them.
"""

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.tracing import untraced

WORKER = "PYTEST_XDIST_WORKER" in os.environ  # it collects tests; whoever starts it does not
LIBRARIES = (
    "boto3",
    "fastapi.testclient",
    "hypothesis.strategies",
    "matplotlib.figure",
    "moto.server",
    "onnxruntime",
    "playwright.sync_api",
    "pyarrow.dataset",
    "pyogrio",
    "pyproj",
    "rasterio",
    "ray",
    "schemathesis",
    "sklearn.linear_model",
    "torch._dynamo",
    "torch.export",
)
ROOT = Path(__file__).parents[1]
OURS = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for folder in ("tiling", "loc2vec", "service")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path.stem != "__main__"
]

with untraced():
    for name in ("torch", "osmium", *(LIBRARIES if WORKER else ())):
        importlib.import_module(name)


@contextmanager
def collecting() -> Iterator[None]:
    """Import what is measured; leave out of the coverage of a worker what else is collected."""
    if not WORKER:
        yield
        return
    for name in OURS:
        importlib.import_module(name)
    with untraced():
        yield
