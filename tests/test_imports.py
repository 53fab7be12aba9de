"""The import table, read from the source: who may import whom, and who knows which library."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

pytestmark = pytest.mark.untraced  # nothing runs here

ROOT = Path(__file__).parent.parent
PACKAGES = ("tiling", "loc2vec", "service")
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}
FOLDERS = {name for name, path in MODULES.items() if path.name == "__init__.py"}

# A heavy library lives in the modules named here and in no others.
ONLY_IN = {
    "mapnik": {"tiling.render.renderer", "tiling.render.basemap", "tiling.render.labels"},
    "faiss": {"service.index.index", "service.index.kinds"},
    "fsspec": {"tiling.files.folders"},
    "osmium": {
        "tiling.osm.apply",
        "tiling.osm.bounded.read",
        "tiling.osm.extract",
        "tiling.osm.file",
        "tiling.osm.replication",
        "tiling.osm.sieve",
    },
    "psycopg2": {"tiling.store.postgis.database"},
    "h3": {"tiling.geo.cells"},
    "pyogrio": {"tiling.store.geopackage.write", "tiling.files.tables", "tiling.files.write"},
    "rasterio": {"loc2vec.embed.raster"},
    "requests": {
        "tiling.osm.fetch.download",
        "tiling.osm.fetch.server",
        "tiling.osm.replication",
    },
    "opentelemetry": {"service.observe.tracing"},
    "ray": {"tiling.dataset.ray"},
    "matplotlib": {"loc2vec.paper.plot"},
    "jinja2": {"loc2vec.paper.template"},
    "sklearn": {
        "loc2vec.evaluation.probes",
        "loc2vec.evaluation.splits",
        "loc2vec.explore.pca_tsne",
        "loc2vec.explore.lda",
        "loc2vec.explore.clusters",
        "loc2vec.predict.estimators",
        "loc2vec.predict.judge",
    },
}
NEVER = {
    "tiling": {"loc2vec", "service", "torch", "fastapi", "faiss", "uvicorn"},
    "loc2vec": {"service", "fastapi", "faiss", "uvicorn"},
    "service": set(),
}
# What opens stores and renders; the rest of loc2vec works on tiles that it is handed.
RENDERS = {"loc2vec.embed", "loc2vec.evaluation", "loc2vec.predict", "loc2vec.trips"}
STORES = {"tiling.store", "tiling.render"}
# The two exceptions of loc2vec: an encoder opens the store it is given, when it is given one, and
# `python -m loc2vec` is the console command.
LAZILY = {"loc2vec.encoder": {"tiling.render.renderer", "tiling.store.store"}}
UPWARDS = {"loc2vec.__main__": {"service.cli.main"}}
SERVICE = {"service.http.app", "service.engine.engine"}


def imported(path: Path) -> Iterator[str]:
    """Yield the modules that a file imports, also inside functions.

    `from package import module` is one.
    """
    return imported_in(ast.parse(path.read_text(encoding="utf-8")), path)


def imported_at_once(path: Path) -> Iterator[str]:
    """Yield the modules that are imported with a file: not in functions, nor for types alone."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from imported_in(node, path)


def imported_in(tree: ast.AST, path: Path) -> Iterator[str]:
    """Yield the modules that a part of a file imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from names & MODULES.keys()
            if names - MODULES.keys():
                yield str(node.module)


def folder_of(module: str) -> str:
    """Return the folder of a module, or the module itself where it lies in its package.

    >>> folder_of("tiling.store.store"), folder_of("tiling.values")
    ('tiling.store', 'tiling.values')
    """
    return ".".join(module.split(".")[:2])


def assert_no_cycle(edges: Mapping[str, set[str]]) -> None:
    """Fail with the first way that leads back to where it began."""
    done: set[str] = set()

    def visit(node: str, way: tuple[str, ...]) -> None:
        assert node not in way, f"cycle: {' -> '.join((*way, node))}"
        if node not in done:
            for other in edges.get(node, ()):
                visit(other, (*way, node))
            done.add(node)

    for node in edges:
        visit(node, ())


@pytest.mark.parametrize("module", MODULES)
def test_imports_follow_the_table(module: str) -> None:
    package = module.partition(".")[0]
    for name in imported(MODULES[module]):
        top = name.partition(".")[0]
        if name not in UPWARDS.get(module, ()):
            assert top not in NEVER[package], f"{module} imports {name}"
        assert module in ONLY_IN.get(top, {module}), f"{module} imports {name}"
        assert name not in FOLDERS, f"{module} imports from the folder {name}: name the module"
        if package == "loc2vec" and folder_of(name) in STORES and folder_of(module) not in RENDERS:
            assert name in LAZILY.get(module, ()), f"{module} imports {name}"


@pytest.mark.parametrize("module", LAZILY)
def test_lazy_imports_are_inside_functions(module: str) -> None:
    assert set(imported(MODULES[module])) >= LAZILY[module], "the exception is no longer needed"
    assert not set(imported_at_once(MODULES[module])) & LAZILY[module]


def test_only_the_module_to_run_imports_upwards() -> None:
    """Nobody imports `loc2vec.__main__`, so its import of the service makes no cycle."""
    (module,) = UPWARDS
    assert set(imported(MODULES[module])) >= UPWARDS[module]
    assert not [name for name, path in MODULES.items() if module in imported(path)]


def test_the_http_process_loads_no_training_module() -> None:
    seen: set[str] = set()
    waiting = list(SERVICE)
    while waiting:
        module = waiting.pop()
        if module in MODULES and module not in seen:
            seen.add(module)
            waiting += list(imported(MODULES[module]))
    assert seen >= SERVICE
    assert not [
        module for module in seen if folder_of(module) in ("loc2vec.train", "loc2vec.evaluation")
    ]


def test_modules_form_no_cycle() -> None:
    assert_no_cycle(
        {module: set(imported(path)) & MODULES.keys() for module, path in MODULES.items()}
    )


def test_folders_form_no_cycle() -> None:
    edges: dict[str, set[str]] = {}
    for module, path in MODULES.items():
        here = folder_of(module)
        edges.setdefault(here, set()).update(
            folder_of(name) for name in imported(path) if name in MODULES
        )
        edges[here].discard(here)
    assert_no_cycle(edges)


def test_a_folder_holds_about_a_dozen_entries() -> None:
    families = ROOT / "loc2vec" / "encoders"  # one file a family
    for folder in {path.parent for path in MODULES.values()} - {families}:
        entries = [
            path.name
            for path in folder.iterdir()
            if path.name not in ("__pycache__", "__init__.py", "py.typed")
        ]
        assert len(entries) <= 13, f"{folder}: {len(entries)} entries: {sorted(entries)}"
