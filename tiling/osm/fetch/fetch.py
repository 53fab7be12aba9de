"""From the name of a region or a place to an extract in the cache of this machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from tiling.errors import FetchError, RegionError
from tiling.files.atomic import parse_json
from tiling.osm.fetch.download import Download, Facts, Watch
from tiling.osm.fetch.provider import Provider
from tiling.osm.fetch.regions import Region, read_index, region_around, region_called, unknown
from tiling.osm.fetch.server import AwayError, Server
from tiling.values import LonLat, check_place

ENDING = ".osm.pbf"


@dataclass(frozen=True, slots=True)
class Fetched:
    """An extract on this machine; `fresh`: it came just now."""

    path: Path
    region: Region
    facts: Facts
    fresh: bool


class Fetcher:
    """Brings the extracts of one provider into `folder`, by default the user's cache."""

    def __init__(
        self,
        provider: Provider,
        server: Server,
        watch: Watch | None = None,
        folder: Path | None = None,
    ) -> None:
        self._provider, self._server, self._watch = provider, server, watch
        root = folder or platformdirs.user_cache_path("loc2vec") / "extracts"
        self._folder = root / provider.name

    def called(self, name: str) -> Region:
        """Return the region of a name, a path such as europe/monaco, an ISO code, or of a place.

        Raises `RegionError` when it is unknown or several have it.
        """
        regions = self._regions()
        region = region_called(regions, name)
        if region is not None:
            return region
        place = self._place(name)
        if place is None:
            raise unknown(regions, name)
        return region_around(regions, place)

    def around(self, place: LonLat) -> Region:
        """Return the smallest region around a place."""
        return region_around(self._regions(), place)

    def fetch(self, region: Region) -> Fetched:
        """Bring the extract of a region, or see that the one in the cache is the newest.

        Raises `FetchError` as `Download.bring` does. Without an answer the one in the cache counts.
        """
        path = self._folder / f"{region.id}{ENDING}"
        download = Download(self._server, region.url, path, self._watch)
        fresh = self._bring(download)
        assert download.facts is not None  # noqa: S101 - it was brought
        return Fetched(path, region, download.facts, fresh)

    def _regions(self) -> list[Region]:
        path = self._folder / "index.json"
        self._bring(Download(self._server, self._provider.index, path), with_md5=False)
        return read_index(path.read_bytes(), self._provider.index)

    def _bring(self, download: Download, with_md5: bool = True) -> bool:
        try:
            return download.bring(with_md5)
        except AwayError as error:
            if download.facts is None:
                raise FetchError(f"{error}: run the same again later, it goes on") from error
            self._server.told(f"{error}: taking what came before, of {download.facts.date}")
            return False

    def _place(self, name: str) -> LonLat | None:
        """Ask the provider's geocoder (https://nominatim.org/release-docs/latest/api/Search/)."""
        url = self._provider.geocoder
        if url is None:
            return None
        data = self._server.read(url, {"q": name, "format": "geojson", "limit": "1"})
        with _understood(url):
            features = parse_json(data, url)["features"]
            if not features:
                return None
            lon, lat = features[0]["geometry"]["coordinates"][:2]
            self._server.told(f"{name}: {features[0]['properties'].get('display_name', '')}")
            return check_place(float(lat), float(lon))


@contextmanager
def _understood(url: str) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, LookupError, AttributeError) as error:
        raise RegionError(f"{url} does not answer as Nominatim does: give --around") from error
