"""From OSM extracts to a GeoPackage store."""

from collections.abc import Sequence
from pathlib import Path

from tiling.catalogue import Catalogue
from tiling.files.atomic import replacing, sweep
from tiling.osm.gather.gather import Progress, gathered
from tiling.store.geopackage.write import write_gathered
from tiling.store.store import ImportSummary


def import_extracts(
    paths: Sequence[Path],
    store: Path,
    catalogue: Catalogue,
    progress: Progress = lambda objects, share: None,
    allow_loss: bool = False,
) -> ImportSummary:
    """Write the extracts to a GeoPackage, as `tiling.store.store.Store.import_extracts` has it."""
    sweep(store)
    with (
        replacing(store) as temporary,
        gathered(paths, catalogue, temporary.parent, progress, allow_loss) as found,
    ):
        write_gathered(temporary, found, catalogue)
        return ImportSummary.of(found, catalogue)
