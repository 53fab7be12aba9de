"""Features and names of the raw objects that osm2pgsql keeps for updates of a PostGIS store.

They equal those that an import makes of the same objects.
"""

import shapely
from shapely.geometry.base import BaseGeometry

from tiling.catalogue.catalogue import Catalogue
from tiling.osm.gather.coast import sea_polygons
from tiling.osm.gather.pieces import MAX_VERTICES, cut
from tiling.osm.names import NamedObject, names_of
from tiling.store.postgis.database import Connection
from tiling.store.postgis.statements import columns, copy_into, execute, rows
from tiling.values import Box

# What becomes features: whole objects, and the pieces of large polygons.
_GATHERED = """
CREATE TEMP TABLE gathered (
    osm_type char(1) NOT NULL, area boolean NOT NULL, osm_id bigint NOT NULL,
    channel smallint NOT NULL, width_m real NOT NULL, geom geometry(Geometry, 4326) NOT NULL
);
CREATE TEMP TABLE pieces (
    osm_type char(1) NOT NULL, area boolean NOT NULL, osm_id bigint NOT NULL,
    channel smallint NOT NULL, width_m real NOT NULL, piece int NOT NULL,
    geom geometry(Geometry, 4326) NOT NULL
);
"""

# An extract that was cut out of a larger one lacks nodes and members. osm2pgsql skips a missing
# node and makes what it can of a multipolygon. A store keeps the runs of a line between its gaps,
# and no area that lacks a part, as `tiling.osm.extract` does.
#
# `suspect`: ways whose geometry has fewer points than nodes, and the members of all relations.
# `node`: their nodes, with the number of gaps before each and in all. `run`: the lines between
# the gaps.
_COMPLETE = """
CREATE TEMP TABLE gappy AS
WITH suspect AS (
    SELECT osm_id AS id FROM touched
    WHERE osm_type = 'W' AND nodes <> COALESCE(ST_NPoints(geom), 0)
    UNION SELECT osm_id FROM coastline WHERE nodes <> COALESCE(ST_NPoints(geom), 0)
    UNION SELECT member FROM touched JOIN planet_osm_rels AS r ON osm_type = 'R' AND r.id = osm_id,
        unnest(r.parts[r.way_off + 1 : r.rel_off]) AS member
), node AS (
    SELECT w.id, place, n.id IS NULL AS missing,
        n.lon / 1e7::float8 AS lon, n.lat / 1e7::float8 AS lat,
        count(*) FILTER (WHERE n.id IS NULL) OVER (PARTITION BY w.id ORDER BY place) AS run,
        count(*) FILTER (WHERE n.id IS NULL) OVER (PARTITION BY w.id) AS gaps
    FROM suspect JOIN planet_osm_ways AS w USING (id),
        unnest(w.nodes) WITH ORDINALITY AS u (node, place)
    LEFT JOIN planet_osm_nodes AS n ON n.id = u.node
), run AS (
    SELECT id, run, ST_RemoveRepeatedPoints(ST_SetSRID(
        ST_MakeLine(ST_MakePoint(lon, lat) ORDER BY place) FILTER (WHERE NOT missing), 4326)
    ) AS geom
    FROM node WHERE gaps > 0 GROUP BY id, run
)
SELECT id, ST_Multi(ST_Collect(geom ORDER BY run) FILTER (WHERE ST_Length(geom) > 0)) AS geom
FROM run GROUP BY id;

UPDATE drawn SET geom = gappy.geom FROM gappy
WHERE osm_type = 'W' AND NOT area AND osm_id = gappy.id;
UPDATE drawn SET geom = NULL FROM gappy WHERE osm_type = 'W' AND area AND osm_id = gappy.id;
UPDATE coastline SET geom = gappy.geom FROM gappy WHERE osm_id = gappy.id;
UPDATE drawn SET geom = NULL FROM planet_osm_rels AS r
WHERE osm_type = 'R' AND r.id = osm_id
AND (osm_type, osm_id) IN (SELECT osm_type, osm_id FROM touched)
AND EXISTS (
    SELECT FROM unnest(r.parts[r.way_off + 1 : r.rel_off]) AS member
    WHERE member IN (SELECT id FROM gappy)
    OR NOT EXISTS (SELECT FROM planet_osm_ways AS w WHERE w.id = member)
);
DROP TABLE gappy;
"""

_GATHER = """
INSERT INTO gathered SELECT osm_type, area, osm_id, channel, width_m,
    CASE WHEN area THEN ST_Multi(geom) ELSE geom END
FROM touched WHERE geom IS NOT NULL
"""
_INCOMING = """
INSERT INTO names SELECT * FROM unnest(
    %s::text[], %s::bigint[], %s::int[], %s::text[], %s::text[], %s::text[], %s::int[],
    %s::float8[], %s::float8[])
"""
_IS_LARGE = "ST_Dimension(geom) = 2 AND ST_NPoints(geom) > %(max_vertices)s"
_LARGE = f"""
SELECT osm_type, area, osm_id, channel, width_m, ST_AsBinary(geom, 'NDR')
FROM gathered WHERE {_IS_LARGE}
"""  # noqa: S608 - constants
_FEATURES = f"""
SELECT channel, width_m, osm_type, CASE osm_type WHEN 'S' THEN 0 ELSE osm_id END AS osm_id, geom
FROM (
    SELECT osm_type, osm_id, channel, width_m, geom FROM gathered WHERE NOT ({_IS_LARGE})
    UNION ALL SELECT osm_type, osm_id, channel, width_m, geom FROM pieces
) AS everything
"""  # noqa: S608 - constants


def gather(connection: Connection) -> None:
    """Complete and gather the objects of the view `touched`."""
    execute(connection, _GATHERED + _COMPLETE + _GATHER)


def gather_names(connection: Connection, named: str, area: BaseGeometry) -> None:
    """Put the names of those objects of the table `named` that lie in `area` into the store."""
    query = f"SELECT osm_type, osm_id, version, tags, ST_AsBinary(geom, 'NDR') FROM {named}"  # noqa: S608 - ours
    shapely.prepare(area)
    for some in columns(connection, query, None):
        objects = [NamedObject(*record) for record in zip(*some, strict=True)]
        found = [
            (item.osm_type, item.osm_id, item.version, *name)
            for item, name in names_of(objects)
            if shapely.intersects_xy(area, name.lon, name.lat)
        ]
        if found:
            execute(connection, _INCOMING, [list(column) for column in zip(*found, strict=True)])


def gather_sea(connection: Connection, frame: Box, catalogue: Catalogue) -> None:
    """Gather the parts of `frame` that are sea, by the coastline that osm2pgsql read."""
    query = "SELECT ST_AsBinary(geom, 'NDR') FROM coastline WHERE geom IS NOT NULL ORDER BY osm_id"
    sea = sea_polygons([bytes(wkb) for (wkb,) in rows(connection, query)], frame)
    # the sea has no OSM ids
    faces = (("S", True, n, catalogue.sea_channel, 0.0, face) for n, face in enumerate(sea))
    copy_into(connection, "gathered", faces)


def make_features(connection: Connection, target: str) -> None:
    """Fill a table with what was gathered; large polygons are cut."""
    for *key, wkb in columns(connection, _LARGE, {"max_vertices": MAX_VERTICES}):
        whole = shapely.make_valid(shapely.from_wkb(wkb))
        pieces = (
            (*of, n, piece)
            for *of, g in zip(*key, whole, strict=True)
            for n, piece in enumerate(cut(g), 1)
        )
        copy_into(connection, "pieces", pieces)
    execute(connection, f"INSERT INTO {target} {_FEATURES}", {"max_vertices": MAX_VERTICES})
