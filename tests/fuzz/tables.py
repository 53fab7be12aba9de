"""Tables of places and labels that no program should write: CSV, Parquet, GeoJSON, GeoPackage."""

import decimal
import json
import math
import random
import struct
import warnings
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import shapely

from tests.fuzz.attack import damage

NAMES = ("lat", "lon", "price", "name", "embedding_1", "embedding", "h3", "geometry", "x",
         "y", "latitude", "LON", " lat", "", "lat\n", "n" * 3000,
         "\u202e", "\x1b[31m", "a,b", "fid", "FID", "Name", "ogc_fid", "id", '"', "é")  # fmt: skip
ENCODINGS = ("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "latin-1",
             "cp1252")  # fmt: skip
CELLS = (
    "nan", "inf", "-inf", "1e400", "-0", "0x1F", "1_000", "12°N", "1,5", "+7", " 7.4 ", "", "NULL",
    "١٢", "²", "9" * 400, "9" * 5000, "TRUE", "8a3969a41d37fff", "8" * 15, "-1", "1e-400",
    "a" * 9000, '"', '""', '"a', "a\nb", "a\rb", "\x1b[31m", "\x00", "\ufeff", "\u2028",
    "=1+1", "[1, 2]", "POINT (7 43)", "€ 1,200", "10 %", "1970-01-01", "é",
)  # fmt: skip
NUMBERS = (0, 1, -1, 43, 7, 90, 91, 2**31, 2**53 + 1, 2**63 - 1, -(2**63))
FLOATS = (0.0, -0.0, 43.7, 7.4, 90.0, 1e308, 5e-324, math.nan, math.inf, -math.inf)


def hostile_table(path: Path, rng: random.Random) -> None:
    """Write a table of any kind; some are damaged."""
    make = rng.choice(
        [csv_bytes, csv_bytes, parquet_bytes, parquet_bytes, geojson_bytes, gdal_bytes]
    )
    data = make(path, rng)
    path.write_bytes(damage(data, rng) if data and rng.random() < 0.2 else data)


def _columns(rng: random.Random) -> list[str]:
    names = rng.choice([["lat", "lon", "price"]] * 3 + [["geometry", "price"], ["h3", "name"]])
    names = [*names, *rng.choices(NAMES, k=rng.choice([0, 0, 1, 3]))]
    if rng.random() < 0.1:
        rng.shuffle(names)
        names.pop()
    return names


def csv_bytes(_path: Path, rng: random.Random) -> bytes:
    names = _columns(rng)
    separator, end = rng.choice(",,,;\t|:"), rng.choice(["\n", "\n", "\r\n", "\r"])
    odd = rng.choice([0.0, 0.01, 0.1])
    rows = [names, *([_cell(name, rng, odd) for name in names] for _ in range(_few(rng)))]
    if rng.random() < 0.1:  # a row too long or too short
        rng.choice(rows)[:] = rng.choice([[], ["1"], ["1"] * 9])
    text = end.join(separator.join(row) for row in rows) + end * rng.randrange(3)
    text = rng.choice(["", "", "", f"sep={separator}{end}", "\ufeff", end]) + text
    return text.encode(rng.choice(ENCODINGS), "replace")


def _few(rng: random.Random) -> int:
    return rng.choice([0, 1, 2, 5, 30])


def _cell(name: str, rng: random.Random, odd: float) -> str:
    if rng.random() < odd:
        return rng.choice(CELLS)
    cell = f"{rng.uniform(-90, 90):.{rng.randrange(1, 20)}f}"
    return "8a3969a41d37fff" if name == "h3" else f'"{cell}"' if rng.random() < 0.1 else cell


def parquet_bytes(_path: Path, rng: random.Random) -> bytes:
    rows, names = _few(rng), _columns(rng)
    odd = rng.choice([0.0, 0.1, 0.5])
    arrays = [_array(name, rows, rng, odd) for name in names]
    table = pa.Table.from_arrays(arrays, names)
    if rng.random() < 0.4:
        table = table.replace_schema_metadata(_metadata(rng))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression=rng.choice(["zstd", "snappy", "none"]))
    return bytes(sink.getvalue())


def _array(name: str, rows: int, rng: random.Random, odd: float) -> pa.Array:
    if rng.random() < odd:
        kind, values = rng.choice(KINDS)
    elif name == "geometry":
        kind, values = pa.binary(), [shapely.Point(7, 43).wkb]
    else:
        kind, values = pa.float64(), [43.7, 7.4, 5.0]
    nulls = [None] if rng.random() < odd else []
    return pa.array([rng.choice([*values, *nulls]) for _ in range(rows)], kind)


def _text(data: bytes) -> pa.Array:
    return pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(struct.pack("<ii", 0, len(data))), pa.py_buffer(data)]
    )


def _nested_wkb(depth: int) -> bytes:
    """Return collections within collections as well-known binary."""
    return b"\x01\x07\x00\x00\x00\x01\x00\x00\x00" * depth + bytes(shapely.Point(7, 43).wkb)


GEOMETRIES = [
    b"", b"\x01", shapely.Point(7, 43).wkb, shapely.Point(7, 43, 9).wkb, shapely.Point().wkb,
    shapely.Point(math.nan, 43).wkb, shapely.Point(math.inf, 43).wkb,
    shapely.box(7, 43, 8, 44).wkb, shapely.Polygon().wkb, shapely.Point(1e308, -1e308).wkb,
    shapely.Polygon([(7, 43), (8, 44), (7, 44), (8, 43)]).wkb,
    shapely.Polygon([(7, 43)] * 4).wkb, shapely.Polygon([(7, 43), (8, 43), (9, 43)]).wkb,
    shapely.LineString([(7, 43), (7, 43)]).wkb, shapely.MultiPoint().wkb,
    shapely.GeometryCollection([shapely.Point(), shapely.Polygon()]).wkb,
    shapely.box(7, 43, 8, 44).wkb.replace(struct.pack("<d", 44.0), struct.pack("<d", math.nan)),
    shapely.Polygon([(0, 0), (1e308, 0), (1e308, 1e308)]).wkb,
    b"\x01\x01\x00\x00\x20" + b"\xff" * 20, b"\x01\x08\x00\x00\x00\x03\x00\x00\x00" + bytes(48),
    b"\x01\x03\x00\x00\x00\xff\xff\xff\x7f", b"\x01\x02\x00\x00\x00\xff\xff\xff\xff",
    b"\x01\x0a\x00\x00\x00\x00\x00\x00\x00", b"\x01\x10\x00\x00\x00\x00\x00\x00\x00",
    _nested_wkb(50), _nested_wkb(100_000),
]  # fmt: skip
KINDS: list[tuple[pa.DataType, list[Any]]] = [
    (pa.binary(), GEOMETRIES),
    (pa.binary(), GEOMETRIES),
    (pa.large_binary(), GEOMETRIES),
    (pa.int64(), list(NUMBERS)),
    (pa.uint64(), [0, 43, 2**64 - 1]),
    (pa.int8(), [0, -128]),
    (pa.float64(), list(FLOATS)),
    (pa.float32(), [0.0, 43.7, math.nan]),
    (pa.float16(), [0.0, 43.5]),
    (pa.decimal128(38, 2), [decimal.Decimal("43.70"), decimal.Decimal(10) ** 35]),
    (pa.decimal256(76, 0), [decimal.Decimal(10) ** 75]),
    (pa.string(), list(CELLS)),
    (pa.large_string(), list(CELLS)),
    (pa.bool_(), [True, False]),
    (pa.null(), [None]),
    (pa.date32(), [0, -(2**31), 2**31 - 1]),
    (pa.timestamp("s"), [0, 2**45, -(2**45)]),
    (pa.timestamp("ns", "Mars/Base"), [0, 2**62]),
    (pa.timestamp("us", "+99:99"), [0, 2**62]),
    (pa.duration("s"), [0, 2**45]),
    (pa.time64("ns"), [0, 2**62]),
    (pa.list_(pa.float32()), [[], [1.0], [1.0, 2.0], [math.nan, 1.0], [None, 1.0]]),
    (pa.list_(pa.float32(), 2), [[1.0, 2.0], [None, 1.0]]),
    (pa.list_(pa.string()), [["a"], [None]]),
    (pa.list_(pa.list_(pa.float64())), [[[1.0]], [None]]),
    (pa.struct({"x": pa.float64(), "y": pa.float64()}), [{"x": 7.0, "y": 43.0}, {"x": None}]),
    (pa.map_(pa.string(), pa.int32()), [[("a", 1)], []]),
    (pa.dictionary(pa.int32(), pa.string()), ["a", "43.7"]),
]


def _metadata(rng: random.Random) -> dict[bytes, bytes]:
    column: Any = rng.choice(
        [
            {}, [], None, "x", {"crs": 7}, {"crs": {"id": "EPSG"}}, {"crs": {"id": {"code": 1}}},
            {"crs": {"name": "a\nb"}}, {"crs": {"id": [4326]}}, {"crs": []}, {"encoding": "point"},
            {"crs": "EPSG:3857"}, {"crs": {"name": 7}},
        ]
    )  # fmt: skip
    columns = rng.choice([{"geometry": column}, {"geometry": column}, column])
    primary: Any = rng.choice(["geometry", "geometry", "none", 7, None, [], {}, "lat"])
    geo = json.dumps(rng.choice([{"primary_column": primary, "columns": columns}, columns, 7]))
    odd = [b"{", b"\xff", b"[" * 100_000, b"", b"nan", b'{"a":' * 50_000]
    said = rng.choice([geo.encode(), geo.encode(), geo.encode(), rng.choice(odd)])
    return {b"geo": said, b"model": rng.choice([b"m", b"\xff", b""]), b"fingerprint": b"\xff"}


def geojson_bytes(_path: Path, rng: random.Random) -> bytes:
    odd = rng.choice([0.0, 0.2])
    features: list[Any] = [_feature(rng, odd) for _ in range(_few(rng))]
    whole: Any = {"type": "FeatureCollection", "features": features}
    if rng.random() < 0.2:
        whole |= rng.choice(
            [
                {"crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::3857"}}},
                {"crs": 7}, {"features": {}}, {"features": None}, {"type": "x"}, {"bbox": ["a"]},
                {"features": [None, 7, "x", []]}, {"crs": {"type": "link", "properties": {}}},
            ]
        )  # fmt: skip
    text = json.dumps(whole)
    if rng.random() < 0.05:
        text = text.replace("[", "[" * rng.choice([2, 50, 100_000]), 1)
    return text.encode(rng.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16"]))


def _feature(rng: random.Random, odd: float) -> Any:
    point: Any = {"type": "Point", "coordinates": [7.4, 43.7]}
    facts: Any = {"price": rng.choice([5, 1.5])}
    if rng.random() < odd:
        point = rng.choice(
            [
                None, {}, [], 7, {"type": "Point"}, {"type": "Point", "coordinates": []},
                {"type": "Point", "coordinates": ["7", None]}, {"type": "x", "coordinates": [1, 2]},
                {"type": "Point", "coordinates": [10**400, 1]},
                {"type": "Polygon", "coordinates": []},
                {"type": "Point", "coordinates": [math.nan, math.inf]},
                {"type": "Polygon", "coordinates": [[[7, 43], [8, 43]]]},
                {"type": "Polygon", "coordinates": [[[7, 43], [8, 44], [7, 44], [8, 43], [7, 43]]]},
                {"type": "LineString", "coordinates": [[7, 43]]},
                {"type": "GeometryCollection", "geometries": []}, {"type": None},
            ]
        )  # fmt: skip
    if rng.random() < odd:
        facts = rng.choice(
            [
                None, [], {"price": [1, {}]}, {"price": {"a": 1}}, {"price": "x" * 9000}, {"": 1},
                {"lat": "x", "lon": 7}, {"price": 10**400}, {"a\nb": 1}, {"embedding_1": None},
                {"geometry": 1, "fid": "x"},
            ]
        )  # fmt: skip
    return {"type": "Feature", "geometry": point, "properties": facts}


def gdal_bytes(path: Path, rng: random.Random) -> bytes:
    """Return a GeoPackage: one of two layers, without rows, in another system, cut off."""
    file = path.with_name("made.gpkg")
    file.unlink(missing_ok=True)
    wkb = [rng.choice(GEOMETRIES[2:8]) for _ in range(_few(rng))]
    field = rng.choice(["price", "price", "lat", "a\nb", "embedding_1"])
    values = pa.array([rng.choice(FLOATS) for _ in wkb], pa.float64())
    table = pa.table({field: values, "geom": pa.array(wkb, pa.binary())})
    for layer in rng.choice(["a", "a", "a", "ab"]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it does not say its system
            pyogrio.raw.write_arrow(
                table, file, layer=layer, driver="GPKG", geometry_name="geom",
                geometry_type="Unknown", append=file.exists(),
                crs=rng.choice(["EPSG:4326", "EPSG:4326", "EPSG:3857", None]),
            )  # fmt: skip
    data = file.read_bytes()
    kind = rng.random()
    if kind < 0.8:
        return data if kind < 0.5 else damage(data, rng)
    return data[: rng.randrange(len(data))]
