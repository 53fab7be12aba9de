"""The import table of the packages, read from the source: who may import whom, and who knows which library."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for package in ("tiling", "loc2vec", "service")
    for path in sorted((ROOT / package).rglob("*.py"))
}
ONLY_IN = {
    "mapnik": {"tiling.render.renderer", "tiling.render.basemap"},
    "faiss": {"service.index.index"},
    "fsspec": {"tiling.files.folders"},
    "osmium": {"tiling.osm.extract", "tiling.osm.replication"},
    "psycopg2": {"tiling.store.postgis"},
    "h3": {"tiling.geo.cells"},
    "pyogrio": {"tiling.store.geopackage"},
    "rasterio": {"loc2vec.embed.raster"},
    "opentelemetry": {"service.observe.tracing"},
    "ray": {"tiling.dataset.ray"},
    "matplotlib": {"loc2vec.evaluation.report", "loc2vec.paper.plot"},
    "sklearn": {
        "loc2vec.evaluation.probes",
        "loc2vec.evaluation.splits",
        "loc2vec.explore.pca_tsne",
        "loc2vec.explore.lda",
        "loc2vec.explore.clusters",
    },
}
NEVER = {
    "tiling": {"loc2vec", "service", "torch", "fastapi", "faiss", "uvicorn"},
    "loc2vec": {"service", "fastapi", "faiss", "mapnik", "uvicorn"},
    "service": set(),
}
LOC2VEC_MAY_USE = {
    "tiling.values",
    "tiling.errors",
    "tiling.files.atomic",
    "tiling.dataset.dataset",
    "tiling.geo.geodesy",
}
LOC2VEC_MAY_USE |= {
    "tiling.geo.cells",
    "tiling.files.geoparquet",
    "tiling.machine",
    "tiling.cli.group",
    "tiling.geo.mercator",
}
HTTP_MODULES = {"service.http.app", "service.engine.engine"}


def imported(path: Path, top_level_only: bool = False) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield str(node.module)


@pytest.mark.parametrize("module", MODULES)
def test_imports_follow_the_table(module: str) -> None:
    package = module.partition(".")[0]
    for name in imported(MODULES[module]):
        top = name.partition(".")[0]
        assert top not in NEVER[package], f"{module} imports {name}"
        assert module in ONLY_IN.get(top, {module}), f"{module} imports {name}"
        assert name not in NEVER, f"{module} imports from the package {name}: name the module"
        if package == "loc2vec" and top == "tiling":
            assert name in LOC2VEC_MAY_USE, f"{module} imports {name}"


def test_the_http_process_loads_no_training_module() -> None:
    seen: set[str] = set()
    waiting = list(HTTP_MODULES)
    while waiting:
        module = waiting.pop()
        if module in MODULES and module not in seen:
            seen.add(module)
            waiting += list(imported(MODULES[module]))
    assert seen >= HTTP_MODULES
    assert not seen & {"loc2vec.train.loop", "loc2vec.train.batches", "loc2vec.train.losses"}


def test_there_are_no_cycles() -> None:
    edges = {module: {n for n in imported(path) if n in MODULES} for module, path in MODULES.items()}
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, f"cycle: {' -> '.join((*way, module))}"
        if module not in done:
            for other in edges[module]:
                visit(other, (*way, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())
