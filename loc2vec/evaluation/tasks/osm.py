"""Tasks from OpenStreetMap itself: what an extract says and the tiles do not show.

An object that is rendered as what it is called (a church as civic land) is no label. Only objects
that are rendered as plain buildings, or not at all, are labels. `way` is the exception.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from loc2vec.errors import LabelsError
from loc2vec.evaluation.tasks.task import Rows, Task
from loc2vec.model.arrays import Flags, Floats
from tiling.catalogue.catalogue import Catalogue
from tiling.geo.geodesy import box_around
from tiling.osm.extract import OsmObject
from tiling.values import LonLat

BUILDING, CIVIC, LAND, WAY = "building", "civic", "land use", "way"  # roles of channels
WITHIN_M = 250.0  # shops and amenities are counted this far around a place
MAX_LEVELS = 60
FEWEST = 10  # places; a class with fewer is left out
SOME = 2000  # places of a town, of which those of all towns are sampled

Kinds = Mapping[str, Mapping[str, frozenset[str] | None]]  # class -> key -> values, None = any


def _kinds(**classes: dict[str, str]) -> Kinds:
    return {
        name.replace("_", " "): {
            key: None if values == "*" else frozenset(values.split())
            for key, values in tags.items()
        }
        for name, tags in classes.items()
    }


# building=residential and building=yes say too little and are left out.
BUILDING_TYPES = _kinds(
    house={"building": "house detached semidetached_house semi terrace bungalow"},
    apartments={"building": "apartments dormitory"},
    commercial={"building": "commercial retail office supermarket kiosk shop hotel"},
    industrial={"building": "industrial warehouse factory manufacture storage hangar"},
    civic={
        "building": "civic public government townhall school kindergarten university college "
        "hospital fire_station church chapel cathedral mosque temple synagogue religious monastery"
    },
    garage={"building": "garage garages carport shed"},
)
POINTS = _kinds(
    food={"amenity": "restaurant cafe fast_food bar pub ice_cream food_court biergarten"},
    shop={"shop": "*"},
    health={"amenity": "pharmacy doctors dentist clinic hospital veterinary", "healthcare": "*"},
    education={
        "amenity": "school kindergarten university college language_school music_school "
        "driving_school"
    },
    tourism={
        "tourism": "hotel guest_house hostel motel apartment museum attraction viewpoint gallery"
    },
    office={"office": "*", "amenity": "bank post_office bureau_de_change townhall courthouse"},
    worship={"amenity": "place_of_worship"},
)
LAND_USES = _kinds(
    residential={"landuse": "residential"},
    commercial={"landuse": "commercial retail"},
    industrial={"landuse": "industrial"},
    farmland={"landuse": "farmland farm orchard vineyard"},
    forest={"landuse": "forest", "natural": "wood"},
    grass={"landuse": "grass meadow village_green recreation_ground", "leisure": "park"},
)
WAYS = _kinds(
    rail={"railway": "rail light_rail"},
    motorway={"highway": "motorway trunk"},
    main_street={"highway": "primary secondary tertiary"},
    residential_street={"highway": "residential living_street"},
    footpath={"highway": "footway path pedestrian steps"},
)
KEYS = (
    "building",
    "amenity",
    "shop",
    "healthcare",
    "tourism",
    "office",
    "landuse",
    "natural",
    "leisure",
    "railway",
    "highway",
    "building:levels",
    "tunnel",
)

Labelled = list[tuple[LonLat, float]]  # places with their target


@dataclass(frozen=True, eq=False)
class Town:
    """What one extract holds that tasks are made of, and by which catalogue it is drawn."""

    name: str
    objects: Sequence[OsmObject]
    catalogue: Catalogue


def kind_of(tags: Mapping[str, str], kinds: Kinds) -> int | None:
    """Return the number of the class that tags match; `None` for none, or for more than one."""
    found = [
        number
        for number, conditions in enumerate(kinds.values())
        if any(
            key in tags and (values is None or tags[key] in values)
            for key, values in conditions.items()
        )
    ]
    return found[0] if len(found) == 1 else None


def plain(town: Town, kinds: tuple[str, ...], blank: tuple[str, ...] = ()) -> list[OsmObject]:
    """Return the objects of some kinds that are not drawn, or like every other building.

    What channels of the roles `blank` show does not count.
    """
    allowed = set(town.catalogue.with_role(BUILDING, *blank))
    return [
        item
        for item in town.objects
        if item.kind in kinds and {channel for channel, _ in item.drawn} <= allowed
    ]


def building_type(town: Town, rng: np.random.Generator) -> Labelled:
    """The type of each building, at its centroid."""
    return _classified(town, BUILDING_TYPES, ("area",), shapely.centroid)


def point_of_interest(town: Town, rng: np.random.Generator) -> Labelled:
    """The family of each point of interest."""
    return _classified(town, POINTS, ("point",), lambda points: points, blank=(CIVIC,))


def building_levels(town: Town, rng: np.random.Generator) -> Labelled:
    """The logarithm of the levels of each building, at its centroid: few are towers."""
    items = [item for item in plain(town, ("area",)) if "building" in item.tags]
    with_levels = [(item, levels) for item in items if (levels := _levels(item.tags)) is not None]
    middles = shapely.centroid(shapely.from_wkb([item.wkb for item, _ in with_levels]))
    return list(zip(_places(middles), [log(levels) for _, levels in with_levels], strict=True))


def _levels(tags: Mapping[str, str]) -> float | None:
    try:
        levels = float(tags["building:levels"])
    except (KeyError, ValueError):
        return None
    return levels if 1 <= levels <= MAX_LEVELS else None


def amenities_near(town: Town, rng: np.random.Generator) -> Labelled:
    """The logarithm of 1 + the shops and amenities within 250 m of some buildings."""
    families = [
        item for item in plain(town, ("point", "area")) if kind_of(item.tags, POINTS) is not None
    ]
    places = _buildings(town)
    if not places:
        return []
    some = [places[number] for number in rng.permutation(len(places))[:SOME].tolist()]
    tree = shapely.STRtree(shapely.centroid(shapely.from_wkb([item.wkb for item in families])))
    disc, _ = tree.query(_discs(some, WITHIN_M), predicate="contains")
    return list(zip(some, np.log1p(np.bincount(disc, minlength=len(some))).tolist(), strict=True))


def _discs(places: Sequence[LonLat], radius_m: float) -> NDArray[np.object_]:
    """Return the disc around each place, in degrees."""
    circle = shapely.get_coordinates(shapely.Point(0, 0).buffer(1, quad_segs=8))
    # [n, west south east north]
    boxes = np.array([box_around(place, radius_m) for place in places])
    half = (boxes[:, 2:] - boxes[:, :2]) / 2
    discs: NDArray[np.object_] = shapely.polygons(
        circle * half[:, None] + np.array(places)[:, None]
    )
    return discs


def land_use(town: Town, rng: np.random.Generator) -> Labelled:
    """The use of land at a point inside each area."""
    return _classified(town, LAND_USES, ("area",), lambda areas: _inside(areas, rng), blank=(LAND,))


def way(town: Town, rng: np.random.Generator) -> Labelled:
    """The kind of way at a point along each."""

    def along(lines: NDArray[np.object_]) -> NDArray[np.object_]:
        whole = np.where(
            shapely.get_num_geometries(lines) > 1, shapely.get_geometry(lines, 0), lines
        )
        points: NDArray[np.object_] = shapely.line_interpolate_point(
            whole, rng.random(len(whole)), normalized=True
        )
        return points

    return _classified(town, WAYS, ("line",), along, blank=(WAY,), without="tunnel")


def town(town: Town, rng: np.random.Generator) -> Labelled:
    """Which town it is, at some of its buildings; the target is filled in by `make_task`."""
    return [(place, 0.0) for place in _buildings(town)]


def _buildings(town: Town) -> list[LonLat]:
    areas = [item.wkb for item in town.objects if item.kind == "area" and "building" in item.tags]
    return _places(shapely.centroid(shapely.from_wkb(areas)))


def _classified(
    town: Town,
    kinds: Kinds,
    kind: tuple[str, ...],
    place: Callable[[NDArray[np.object_]], NDArray[np.object_]],
    blank: tuple[str, ...] = (),
    without: str = "",
) -> Labelled:
    found = [
        (item.wkb, number)
        for item in plain(town, kind, blank)
        if without not in item.tags
        if (number := kind_of(item.tags, kinds)) is not None
    ]
    if not found:
        return []
    wkb, numbers = zip(*found, strict=True)
    return list(zip(_places(place(shapely.from_wkb(list(wkb)))), map(float, numbers), strict=True))


def _inside(areas: NDArray[np.object_], rng: np.random.Generator) -> NDArray[np.object_]:
    """Return a point at random inside each area; where none was hit, one that surely is."""
    points: NDArray[np.object_] = shapely.point_on_surface(areas)
    west, south, east, north = shapely.bounds(areas).T
    open_ = np.ones(len(areas), bool)
    for _ in range(20):
        tries = shapely.points(rng.uniform(west, east), rng.uniform(south, north))
        hit = open_ & shapely.contains(areas, tries)
        points[hit] = tries[hit]
        open_ &= ~hit
    return points


def _places(points: NDArray[np.object_]) -> list[LonLat]:
    return [LonLat(*xy) for xy in shapely.get_coordinates(points).tolist()]


@dataclass(frozen=True)
class Recipe:
    """How a task is made: `rows` finds the labels of a town.

    `blank`: the roles of the channels that are blank in its tiles; `needs`: the roles that a
    catalogue must have besides.
    """

    about: str
    rows: Callable[[Town, np.random.Generator], Labelled]
    classes: tuple[str, ...] = ()
    blank: tuple[str, ...] = ()
    needs: tuple[str, ...] = (BUILDING,)
    drawn: bool = False
    geolocation: bool = False


RECIPES = {
    "building type": Recipe(
        "type of a building, at its centroid", building_type, tuple(BUILDING_TYPES)
    ),
    "point of interest": Recipe(
        "family of a point of interest, civic land blanked",
        point_of_interest,
        tuple(POINTS),
        (CIVIC,),
    ),
    "building levels": Recipe("log(levels) of a building, at its centroid", building_levels),
    "amenities near": Recipe(
        "log(1 + shops and amenities within 250 m) of a building", amenities_near
    ),
    "land use": Recipe(
        "use of the land at a point, land-use channels blanked", land_use, tuple(LAND_USES), (LAND,)
    ),
    "way": Recipe(
        "kind of way at a point along it; ways are drawn",
        way,
        tuple(WAYS),
        needs=(BUILDING, WAY),
        drawn=True,
    ),
    "town": Recipe("which town a building stands in", town, needs=(), geolocation=True),
}


def make_task(
    name: str,
    towns: Sequence[Town],
    covered: Callable[[Floats, Floats], Flags],
    per_class: int,
    seed: int = 0,
) -> Task:
    """Build a task from extracts: at most `per_class` places a class, spread over the towns.

    A regression, and the question for the town, have `6 * per_class` places in all. `covered(lon,
    lat)` tells which places the tiles can show whole. Raises `LabelsError` when the extracts hold
    no labels for the task, or their catalogue has no channel of a role that it needs.
    """
    recipe = RECIPES[name]
    _require_roles(name, recipe, towns)
    rows = [
        (place, target, number)
        for number, one in enumerate(towns)
        for place, target in _rows(recipe, one, number, seed)
    ]
    if not rows:
        raise LabelsError(
            f"task {name}: the extracts hold no label for it: leave it out, or give other extracts"
        )
    places, target, at = zip(*rows, strict=True)
    lon, lat = np.array(places, np.float64).T
    place = np.array(at, np.int64)
    label = place if recipe.geolocation else np.array(target)
    inside = covered(lon, lat)
    if not inside.any():
        raise LabelsError(
            f"task {name}: none of its {len(rows)} places lies inside the store: "
            "give the store of these extracts"
        )
    lon, lat, place, label = lon[inside], lat[inside], place[inside], label[inside]
    rng = np.random.default_rng([seed, len(RECIPES)])
    names = tuple(one.name for one in towns)
    if recipe.classes:
        chosen, label, classes = _of_each(label, recipe.classes, place, per_class, rng)
    elif recipe.geolocation:
        chosen, label, classes = _of_each(
            label, names, place, max(6 * per_class // len(names), FEWEST), rng
        )
    else:
        chosen, classes = _spread(np.arange(len(label)), place, 6 * per_class, rng), ()
        label = label[chosen]
    if not len(chosen):
        raise LabelsError(f"task {name}: no class has {FEWEST} places: give more extracts")
    return Task(
        name=name,
        about=recipe.about,
        lat=lat[chosen],
        lon=lon[chosen],
        target=label,
        classes=classes,
        place=place[chosen],
        places=names,
        blank=towns[0].catalogue.with_role(*recipe.blank),
        drawn=recipe.drawn,
        geolocation=recipe.geolocation,
    )


def _require_roles(name: str, recipe: Recipe, towns: Sequence[Town]) -> None:
    for role in (*recipe.needs, *recipe.blank):
        if not all(town.catalogue.with_role(role) for town in towns):
            raise LabelsError(
                f"task {name}: the catalogue has no channel with the role {role!r}, which it needs"
            )


def _of_each(
    label: NDArray[Any],
    classes: Sequence[str],
    place: Rows,
    count: int,
    rng: np.random.Generator,
) -> tuple[Rows, Rows, tuple[str, ...]]:
    """Choose up to `count` rows of each class that has enough places.

    Returns the rows, their class numbers, and the names of the classes.
    """
    groups = [
        _spread(np.flatnonzero(label == number), place, count, rng)
        for number in range(len(classes))
    ]
    kept = [(name, rows) for name, rows in zip(classes, groups, strict=True) if len(rows) >= FEWEST]
    chosen = np.concatenate([np.zeros(0, np.int64), *(rows for _, rows in kept)])
    numbers = np.repeat(np.arange(len(kept)), [len(rows) for _, rows in kept])
    return chosen, numbers, tuple(name for name, _ in kept)


def _rows(recipe: Recipe, town: Town, number: int, seed: int) -> Iterable[tuple[LonLat, float]]:
    return recipe.rows(town, np.random.default_rng([seed, number]))


def _spread(rows: Rows, place: Rows, count: int, rng: np.random.Generator) -> Rows:
    """Choose up to `count` of these rows in turn from each town: no large town outweighs others."""
    mixed = rng.permutation(rows)
    turn = np.empty(len(mixed), np.int64)
    for number in np.unique(place[mixed]):
        mine = place[mixed] == number
        turn[mine] = np.arange(mine.sum())
    order = np.lexsort((rng.random(len(mixed)), turn))
    return np.sort(mixed[order[:count]])
