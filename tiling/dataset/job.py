"""The tile job: from places to a dataset of anchors and positives, shard by shard.

The folder of a dataset holds, in the order in which they are written:

- `plan.json`: what the dataset is made from. Whoever writes it first claims the folder.
- `places.parquet`: one row for each place.
- `tiles-00000.parquet` and so on: the shards, with one row for each tile.
- `share-1-of-4.json`: what one of several jobs has made. The last job collects and deletes them.
- `dataset.json`: the manifest, with the size and hash of each shard. It makes the dataset complete.

Every file appears in one step, and every byte follows from the job alone. So a job may be killed at
any moment and run again, and several jobs may make parts of one dataset on several machines.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from tiling.catalogue.catalogue import Catalogue
from tiling.dataset.dataset import (
    MANIFEST,
    PLACES,
    PLACES_PER_SHARD,
    PLAN,
    ShardPlaces,
    decode_table,
    encode_shard,
    frames_of,
    is_share,
    manifest_bytes,
    plan_fingerprint,
    read_facts,
    shard_name,
    shard_number,
    shard_plan,
    shard_record,
)
from tiling.dataset.executors import Executor, InProcess
from tiling.dataset.frames import compress
from tiling.dataset.places import GIVEN_PLACE, Places, sample_places
from tiling.dataset.poses import MAX_SHIFT_M, place_poses
from tiling.dataset.sources import Sources
from tiling.errors import DatasetError, Loc2VecError, OutsideError
from tiling.files.atomic import json_bytes
from tiling.files.folders import Folder, absolute, open_folder
from tiling.files.geoparquet import GEOMETRY, parquet_bytes, with_points
from tiling.files.points import Points, hash_of_points, read_points
from tiling.geo.groups import group_places
from tiling.machine import give_back_memory
from tiling.render.contact_sheet import write_sheet
from tiling.render.renderer import Renderer
from tiling.store.store import Store
from tiling.values import ATTRIBUTION, LonLat, Pose, TileGeometry


@dataclass(frozen=True, slots=True)
class TileJob:
    """What a dataset is made from: equal jobs make equal bytes.

    `positives`: tiles of each place besides the anchor; the first `close` of them are shifted less.
    `seed`: of all random numbers. Places are either `locations` sampled from `stores`, or those of
    the user's file `points`.
    """

    stores: tuple[Store, ...]
    positives: int = 20
    seed: int = 0
    geometry: TileGeometry = field(default_factory=TileGeometry)
    locations: int | None = None
    points: Path | None = None
    close: int = 0

    @property
    def margin_m(self) -> float:
        """Return the distance from a place to the farthest corner of a shifted tile, metres.

        Sampled places keep this distance from the edge of the data.
        """
        return float(np.sqrt(2) * (self.geometry.widest.radius_m + MAX_SHIFT_M))


class Share(NamedTuple):
    """Part `part` of `parts`, counted from 1: every `parts`-th shard."""

    part: int = 1
    parts: int = 1


@dataclass(frozen=True, slots=True)
class TileSummary:
    """What a job did for its share of the dataset."""

    places: int
    tiles: int
    bytes: int
    shards: int
    shards_made: int
    shards_found: int  # made by an earlier run
    shards_retried: int  # given out again because their worker was lost
    seconds: float
    tiles_per_s: float  # of the shards made now
    finished: bool  # whether the dataset is complete, all shares of it


class Shard(NamedTuple):
    """The work of one shard."""

    number: int
    first: int  # number of its first place in the dataset
    places: Places


class Done(NamedTuple):
    """A complete shard."""

    record: Mapping[str, Any]  # its entry in the manifest
    places: int
    made: bool  # now, not by an earlier run


def places_of(job: TileJob, sources: Sources) -> Places:
    """Return the places of a job, sampled from its open stores or from the user's file."""
    if job.points is not None:
        return locate(sources, read_points(job.points))
    return sample_places(list(sources), job.locations or 0, job.margin_m, job.seed)


def locate(sources: Sources, points: Points) -> Places:
    """Assign each of the user's points to the first store that covers it.

    Raises `OutsideError` for a point that no store covers.
    """
    stores = []
    for row, (lat, lon) in enumerate(zip(points.lat.tolist(), points.lon.tolist(), strict=True), 1):
        covering = (n for n, source in enumerate(sources) if source.covers(LonLat(lon, lat)))
        store = next(covering, None)
        if store is None:
            raise OutsideError(
                f"point {row} (lat {lat}, lon {lon}) is outside the data of every store"
            )
        stores.append(store)
    kind = np.full(len(points), GIVEN_PLACE, object)
    return Places(np.array(stores, np.int64), points.lat, points.lon, kind, points.more)


def render_sheet(job: TileJob, path: Path) -> int:
    """Render the anchors of all places as one PNG for people to look at; return how many."""
    tiles, labels = [], []
    with Sources(job.stores) as sources:
        places = places_of(job, sources)
        renderers = [Renderer(source, job.geometry) for source in sources]
        for store, lat, lon in zip(
            places.store.tolist(), places.lat.tolist(), places.lon.tolist(), strict=True
        ):
            tiles.append(renderers[store].tile(Pose(lat, lon)))
            labels.append(f"{renderers[store].source.name}   lat {lat:.5f}, lon {lon:.5f}")
    write_sheet(path, tiles, labels)
    return len(places)


def run_job(
    job: TileJob,
    out: str | Path,
    executor: Executor | None = None,
    share: Share = Share(),  # noqa: B008 - immutable
    repair: bool = False,
    progress: Callable[[Done, int], object] = lambda done, shards: None,
) -> TileSummary:
    """Make the shards that `out`, a path or an fsspec URL, lacks.

    The job that completes the last share writes the manifest. The dataset is the same, byte for
    byte, whatever the executor and the shares, and however often the job was stopped.

    `repair`: check every byte of existing shards, make damaged ones again, and delete surplus ones.
    `progress` is called with each complete shard, and with the number of shards of the share.

    Raises `DatasetError` when `out` belongs to another job, `WriteError` when the disk is full.
    What was made by then stays.
    """
    start = time.monotonic()
    executor = executor or InProcess()
    job = replace(job, stores=tuple(store.absolute() for store in job.stores))
    folder = open_folder(absolute(out))
    with Sources(job.stores) as sources:
        places, plan = _claim(folder, job, sources, repair)
        shards = [
            shard for shard in shards_of(places) if shard.number % share.parts == share.part - 1
        ]
        task = partial(ensure_shard, job, sources, folder.location, plan["plan"])
        done: list[Done] = []
        try:
            for each in _complete(folder, plan, shards, partial(executor.run, task), repair):
                progress(each, len(shards))
                done.append(each)
            finished = _finish(folder, job, plan, done, share)
            if repair:
                _delete_surplus(folder, plan)
        except DatasetError:
            raise
        except Loc2VecError as error:
            raise type(error)(f"{error} (what is made stays: the same command goes on)") from error
    return _summary(job, done, executor.retried, time.monotonic() - start, finished)


def _summary(
    job: TileJob, done: Sequence[Done], retried: int, seconds: float, finished: bool
) -> TileSummary:
    made = [each for each in done if each.made]
    places = sum(each.places for each in done)
    return TileSummary(
        places=places,
        tiles=places * (1 + job.positives),
        bytes=sum(each.record["bytes"] for each in done),
        shards=len(done),
        shards_made=len(made),
        shards_found=len(done) - len(made),
        shards_retried=retried,
        seconds=round(seconds, 3),
        tiles_per_s=round(sum(each.places for each in made) * (1 + job.positives) / seconds, 1),
        finished=finished,
    )


def _catalogue_of(sources: Sources) -> Catalogue:
    """Return the catalogue of all stores; `DatasetError` when they have several."""
    first, *others = sources
    for other in others:
        if other.catalogue != first.catalogue:
            raise DatasetError(
                f"{first.location} and {other.location} were made with different catalogues: "
                "import both with the same one"
            )
    return first.catalogue


def _facts(job: TileJob, catalogue: Catalogue) -> dict[str, Any]:
    """Return the values of the plan that are known before the places are."""
    return {
        "fingerprint": catalogue.fingerprint(job.geometry),
        "geometry": job.geometry.as_values(),
        "channels": list(catalogue.channels_of(job.geometry)),
        **({} if catalogue.carried is None else {"catalogue": catalogue.carried}),
        "stores": _stores(job),
        "seed": job.seed,
        "locations": job.locations,
        "points": None
        if job.points is None
        else {"name": job.points.name, "sha256": hash_of_points(job.points)},
        "positives": job.positives,
        "max_shift_m": MAX_SHIFT_M,
        **({"close_positives": job.close} if job.close else {}),
        "attribution": ATTRIBUTION,
    }


def _stores(job: TileJob) -> list[dict[str, str]]:
    return [{"name": store.name, "sha256": store.content_hash()} for store in job.stores]


def _claim(
    folder: Folder, job: TileJob, sources: Sources, repair: bool
) -> tuple[Places, dict[str, Any]]:
    """Return the places and the plan of a job, and write both to `folder` unless they are there.

    Of several jobs that start together, one writes the plan and the others find it.
    """
    # Opening the stores reports a missing or foreign one before anything is written.
    facts = _facts(job, _catalogue_of(sources))
    sizes = folder.sizes()
    written = {name: read_facts(folder, name) for name in (PLAN, MANIFEST) if name in sizes}
    if written and not any({**each, **facts} == each for each in written.values()):
        raise DatasetError(_of_another_job(folder))
    plan = written.get(PLAN, {})
    if {**plan, **facts} == plan and plan.get("plan") == plan_fingerprint(plan) and PLACES in sizes:
        table = folder.read(PLACES)
        if sha256(table).hexdigest() == plan["places_sha256"]:
            return _from_table(decode_table(table, PLACES)), plan
    places = places_of(job, sources)
    names = [store["name"] for store in facts["stores"]]
    data = parquet_bytes(_to_table(places, names, 2 * job.margin_m))
    plan = _plan(facts, places, data)
    _write_plan(folder, sizes, plan, repair)
    folder.put(PLACES, data)
    return places, plan


def _plan(facts: Mapping[str, Any], places: Places, data: bytes) -> dict[str, Any]:
    """Complete the plan; `data` is the file of the places."""
    plan = {
        **facts,
        "places": len(places),
        "places_sha256": sha256(data).hexdigest(),
        "n_shards": -(-len(places) // PLACES_PER_SHARD),
    }
    return {**plan, "plan": plan_fingerprint(plan)}


def _write_plan(
    folder: Folder, sizes: Mapping[str, int], plan: dict[str, Any], repair: bool
) -> None:
    """Write the plan unless there is one; `DatasetError` when another job was first."""
    if repair:
        folder.put(PLAN, json_bytes(plan))
    elif PLAN not in sizes:
        _refuse_shards_of_others(folder, sizes, plan["plan"])
        folder.put_new(PLAN, json_bytes(plan))
    if read_facts(folder, PLAN) != plan:
        raise DatasetError(_of_another_job(folder))


def _refuse_shards_of_others(folder: Folder, sizes: Mapping[str, int], plan: str) -> None:
    for name in sizes:
        if shard_number(name) is not None and shard_plan(folder.read(name)) not in (None, plan):
            raise DatasetError(_of_another_job(folder))


def _of_another_job(folder: Folder) -> str:
    return (
        f"{folder.location} belongs to another tile job: "
        "give the same options and stores, or a new --out"
    )


def _to_table(places: Places, names: list[str], reach_m: float) -> pa.Table:
    """Return one row for each place, the user's columns last.

    A column of the user whose NAME is one of ours becomes `points_NAME`. Places whose tiles may
    show the same ground, nearer than `reach_m`, get the same group.
    """
    ours = {
        "place": pa.array(np.arange(len(places))),
        "store": [names[store] for store in places.store.tolist()],
        "store_number": pa.array(places.store),
        "lat": places.lat,
        "lon": places.lon,
        "kind": pa.array(places.kind, pa.string()),
        "group": pa.array(group_places(places.lat, places.lon, reach_m)),
    }
    more = (
        {}
        if places.more is None
        else dict(zip(places.more.column_names, places.more.columns, strict=True))
    )
    taken = {*ours, GEOMETRY}
    columns = ours | {
        f"points_{name}" if name in taken else name: column for name, column in more.items()
    }
    return with_points(pa.table(columns), places.lat, places.lon, {})


def _from_table(table: pa.Table) -> Places:
    """Return the places of a table, without the user's columns, which no tile needs."""
    store, lat, lon = (table[name].to_numpy() for name in ("store_number", "lat", "lon"))
    return Places(store, lat, lon, np.array(table["kind"].to_pylist(), object))


def shards_of(places: Places) -> Iterator[Shard]:
    """Cut the places into shards, in their order."""
    for number, first in enumerate(range(0, len(places), PLACES_PER_SHARD)):
        rows = slice(first, first + PLACES_PER_SHARD)
        mine = Places(places.store[rows], places.lat[rows], places.lon[rows], places.kind[rows])
        yield Shard(number, first, mine)


def _complete(
    folder: Folder,
    plan: Mapping[str, Any],
    shards: Sequence[Shard],
    ensure: Callable[[Sequence[Shard]], Iterator[Done]],
    repair: bool,
) -> Iterator[Done]:
    """Yield each complete shard: those on record, then those that `ensure` makes."""
    known = {} if repair else _known(folder, plan)
    unknown = []
    for shard in shards:
        record = known.get(shard_name(shard.number))
        if record is None:
            unknown.append(shard)
        else:
            yield Done(record, len(shard.places), made=False)
    yield from ensure(unknown)


def _known(folder: Folder, plan: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the records of shards, from the manifest and from shares, by file name.

    A record counts only if the shard has the length that it says.
    """
    sizes = folder.sizes()
    known: dict[str, Mapping[str, Any]] = {}
    for name in sizes:
        if name == MANIFEST or is_share(name):
            for each in _records(folder, name, plan):
                if sizes.get(each["file"]) == each["bytes"]:
                    known[each["file"]] = each
    return known


def _records(folder: Folder, name: str, plan: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the records of shards in a file, none when it is gone or of another plan."""
    try:
        written = read_facts(folder, name)
    except FileNotFoundError:  # another job has just completed the dataset and deleted the shares
        return []
    records: list[Mapping[str, Any]] = written.get("shards", [])
    return records if written.get("plan") == plan["plan"] else []


def _finish(
    folder: Folder, job: TileJob, plan: Mapping[str, Any], done: list[Done], share: Share
) -> bool:
    """Write the manifest when all shards are complete, else the records of this share.

    Returns whether the dataset is complete. Raises `DatasetError` when a store was changed.
    """
    if _stores(job) != plan["stores"]:
        raise DatasetError(
            "a store was changed while its tiles were made: run again, into a new --out"
        )
    names = [shard_name(number) for number in range(plan["n_shards"])]
    records = {each.record["file"]: each.record for each in done}
    if len(records) < len(names):
        mine = {"plan": plan["plan"], "shards": [records[name] for name in sorted(records)]}
        folder.put(f"share-{share.part}-of-{share.parts}.json", json_bytes(mine))
        records = {**_known(folder, plan), **records}
    if not records.keys() >= set(names):
        return False
    sizes = folder.sizes()
    gone = [name for name in names if sizes.get(name) != records[name]["bytes"]]
    if gone:
        raise DatasetError(
            f"{folder.location}: {gone[0]} was changed or deleted meanwhile: "
            "run the same command again"
        )
    folder.put(MANIFEST, manifest_bytes(plan, [records[name] for name in names]))
    for name in folder.sizes():
        if is_share(name):
            folder.delete(name)
    folder.sweep()
    return True


def _delete_surplus(folder: Folder, plan: Mapping[str, Any]) -> None:
    """Delete files that are named like shards beyond the last one of the dataset."""
    for name in folder.sizes():
        number = shard_number(name)
        if number is not None and number >= plan["n_shards"]:
            folder.delete(name)


def ensure_shard(job: TileJob, sources: Sources, location: str, plan: str, shard: Shard) -> Done:
    """Make a shard in the folder at `location`, unless it is there and every byte is right.

    `plan`: fingerprint of the plan. This is the work of one task of an executor.
    """
    folder, name = open_folder(location), shard_name(shard.number)
    poses = _poses(job, shard)
    rows = len(poses) * (1 + job.positives)
    stores = [job.stores[n].name for n in shard.places.store.tolist()]
    values = ShardPlaces(np.arange(shard.first, shard.first + len(poses)), stores, poses)
    found = _read(folder, name)
    if _is_right(found, values, rows, plan):
        return Done(shard_record(shard.number, rows, found), len(poses), made=False)
    frames = _render_frames(job, shard, sources, poses)
    data = encode_shard(values, frames, plan)
    folder.put(name, data)
    done = Done(shard_record(shard.number, rows, data), len(poses), made=True)
    # A worker makes thousands of shards: without this its memory grows by fragmentation.
    del frames, data
    pa.default_memory_pool().release_unused()
    give_back_memory()
    return done


def _read(folder: Folder, name: str) -> bytes:
    try:
        return folder.read(name)
    except FileNotFoundError:
        return b""


def _is_right(found: bytes, values: ShardPlaces, rows: int, plan: str) -> bool:
    """Tell whether a file is the shard of these values, without rendering.

    Its frames are taken out and encoded again. Equal bytes prove all but the pixels, and the
    checksums in the bytes vouch for those.
    """
    frames = frames_of(found)
    return (
        frames is not None and len(frames) == rows and encode_shard(values, frames, plan) == found
    )


def _render_frames(
    job: TileJob, shard: Shard, sources: Sources, poses: Sequence[Sequence[Pose]]
) -> list[bytes]:
    """Render and compress all tiles of a shard."""
    numbers = np.unique(shard.places.store).tolist()
    renderers = {n: Renderer(sources[n], job.geometry) for n in numbers}
    frames: list[bytes] = []
    for store, each in zip(shard.places.store.tolist(), poses, strict=True):
        anchor = each[0]
        frames += compress(renderers[store].tiles(LonLat(anchor.lon, anchor.lat), each))
    return frames


def _poses(job: TileJob, shard: Shard) -> list[list[Pose]]:
    """Return the poses of each place of a shard."""
    lat, lon = shard.places.lat.tolist(), shard.places.lon.tolist()
    return [
        place_poses(LonLat(*place), shard.first + row, job.positives, job.seed, job.close)
        for row, place in enumerate(zip(lon, lat, strict=True))
    ]
