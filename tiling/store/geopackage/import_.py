"""From OSM extracts to a GeoPackage store."""

from collections.abc import Sequence
from pathlib import Path

from tiling.catalogue.catalogue import Catalogue
from tiling.files.atomic import replacing, sweep
from tiling.files.outputs import claimed
from tiling.osm.apply import require_changeable, require_one
from tiling.osm.gather.gather import Progress, gathered
from tiling.store.geopackage.raw import keep_extract, sweep_extracts
from tiling.store.geopackage.write import write_gathered
from tiling.store.store import ImportOptions, ImportSummary


def import_extracts(
    paths: Sequence[Path],
    store: Path,
    catalogue: Catalogue,
    progress: Progress = lambda objects, share: None,
    options: ImportOptions = ImportOptions(),  # noqa: B008 - it is frozen
) -> ImportSummary:
    """Write the extracts to a GeoPackage, as `tiling.store.store.Store.import_extracts` has it."""
    if options.slim:
        require_changeable(require_one(paths))
    with claimed(store):
        sweep(store)
        with (
            replacing(store) as temporary,
            gathered(paths, catalogue, temporary.parent, progress, options.allow_loss) as found,
        ):
            write_gathered(temporary, found, catalogue)
            kept = found.extracts[0].sha256 if options.slim else None
            if kept is not None:
                keep_extract(store, paths[0], kept)
            summary = ImportSummary.of(found, catalogue)
        sweep_extracts(store, kept)
    return summary
