"""Places in every kind of file: what is read, what is kept, and the one line for what is wrong."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely

from tiling.errors import PointsError
from tiling.files.geoparquet import write_points
from tiling.files.points import Points, read_points
from tiling.geo.cells import place_of_cell

LAT, LON = np.array([43.7384, 43.742]), np.array([7.4246, 7.4275])
NAMES = pa.table({"name": ["Café", 'a, "b"']})
CELL = "8a3969a41d37fff"


def read(tmp_path: Path, text: str | bytes, name: str = "places.csv") -> Points:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_points(path)


def check(points: Points) -> None:
    np.testing.assert_allclose(points.lat, LAT)
    np.testing.assert_allclose(points.lon, LON)
    assert points.more.to_pydict() == NAMES.to_pydict()


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_any_separator_is_found(tmp_path: Path, separator: str, encoding: str) -> None:
    rows = [["lat", "lon", "name"], ["43.7384", "7.4246", "Café"], ["43.742", "7.4275", QUOTED]]
    text = "\r\n".join(separator.join(row) for row in rows) + "\r\n"
    check(read(tmp_path, text.encode(encoding)))


QUOTED = '"a, ""b"""'


def test_a_comma_may_stand_before_the_decimals(tmp_path: Path) -> None:
    points = read(tmp_path, "id;lat;lon;rent\n1;43,7384;7,4246;10,5\n2;43,742;7,4275;9\n")
    assert (points.lat.tolist(), points.lon.tolist()) == (LAT.tolist(), LON.tolist())
    assert points.more.to_pydict() == {"id": [1, 2], "rent": [10.5, 9.0]}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["02139", "00501"], ["02139", "00501"]),
        (["12345678901234567890123", "1"], ["12345678901234567890123", "1"]),
        (["+49 89", "1"], ["+49 89", "1"]),
        (["1", "-20"], [1, -20]),
        (["617733151092113407", "5"], [617733151092113407, 5]),
        (["1.50", "2"], [1.5, 2.0]),
        (["7.411997923591518", "1e-3"], [7.411997923591518, 1e-3]),
        (["0.123456789012345678901", "1"], ["0.123456789012345678901", "1"]),
        (["NA", "Namibia"], ["NA", "Namibia"]),
        (["NA", "3"], [None, 3]),
        (["", "a"], [None, "a"]),
        (["true", "false"], ["true", "false"]),
        (["2024-01-02", "x"], ["2024-01-02", "x"]),
    ],
)
def test_what_is_only_kept_stays_as_it_was(
    tmp_path: Path, values: list[str], expected: list[object]
) -> None:
    points = read(tmp_path, f"lat,lon,kept\n1,2,{values[0]}\n3,4,{values[1]}\n")
    assert points.more["kept"].to_pylist() == expected


@pytest.mark.parametrize(
    "columns",
    ["lat,long", "Y,X", "latitude,lng", " lat , lon ", "decimalLatitude,decimalLongitude"],
)
def test_names_of_coordinates(tmp_path: Path, columns: str) -> None:
    points = read(tmp_path, f"{columns}\n43.7384,7.4246\n43.742,7.4275\n")
    assert (points.lat.tolist(), points.lon.tolist()) == (LAT.tolist(), LON.tolist())
    assert not points.more.num_columns


def test_the_line_of_excel_before_the_header_is_known(tmp_path: Path) -> None:
    points = read(
        tmp_path, "\ufeffsep=;\r\nlat;lon;name\r\n43.7384;7.4246;a\r\n43.742;7.4275;b\r\n"
    )
    assert (points.lat.tolist(), points.file.where(0)) == (LAT.tolist(), "line 3")
    assert points.more.to_pydict() == {"name": ["a", "b"]}


def test_x_and_y_are_kept_where_they_are_not_needed(tmp_path: Path) -> None:
    points = read(tmp_path, "lat,lon,x,y\n1,2,30,40\n")
    assert (points.lat[0], points.lon[0]) == (1, 2)
    assert points.more.to_pydict() == {"x": [30], "y": [40]}


@pytest.mark.parametrize("cell", [CELL, str(int(CELL, 16))])
def test_a_place_may_be_an_h3_cell(tmp_path: Path, cell: str) -> None:
    points = read(tmp_path, f"h3,name\n{cell},a\n")
    assert (points.lon[0], points.lat[0]) == place_of_cell(CELL)
    assert points.more.column_names == ["name"]


def written(tmp_path: Path, driver: str, crs: str | None = "EPSG:4326") -> Path:
    path = tmp_path / f"places.{driver.lower()}"
    path = path.with_suffix(".shp") if "Shape" in driver else path
    names = np.array(NAMES["name"].to_pylist(), object)
    pyogrio.raw.write(
        path, shapely.to_wkb(shapely.points(LON, LAT)), [names], np.array(["name"], object),
        driver=driver, geometry_type="Point", crs=crs,
    )  # fmt: skip
    return path


@pytest.mark.parametrize("driver", ["GPKG", "GeoJSON", "ESRI Shapefile"])
def test_files_of_gis_are_read(tmp_path: Path, driver: str) -> None:
    check(read_points(written(tmp_path, driver)))


@pytest.mark.parametrize("name", ["places", "PLACES.CSV", "places.parquet", "p.csv (1)"])
def test_the_content_decides_and_not_the_name(tmp_path: Path, name: str) -> None:
    for driver in ("GPKG", "GeoJSON"):
        path = tmp_path / name
        path.unlink(missing_ok=True)
        written(tmp_path, driver).rename(path)
        check(read_points(path))
    write_points(tmp_path / name, NAMES, LAT, LON, {})
    check(read_points(tmp_path / name))


@pytest.mark.parametrize("driver", ["GPKG", "ESRI Shapefile"])
def test_metres_are_refused_by_the_name_of_their_system(tmp_path: Path, driver: str) -> None:
    with pytest.raises(PointsError, match=r"are in EPSG:3857: save them in degrees"):
        read_points(written(tmp_path, driver, "EPSG:3857"))


@pytest.mark.parametrize(
    ("crs", "said"),
    [
        ('{"id": {"authority": "EPSG", "code": 2154}}', "are in EPSG:2154: save them in degrees"),
        ('{"name": "Lambert"}', "are in Lambert"),
        ('{"id": {"authority": "EPSG", "code": 4326}}', None),
        ('{"id": {"authority": "OGC", "code": "CRS84"}}', None),
        ("null", None),
    ],
)
def test_geoparquet_says_its_system(tmp_path: Path, crs: str, said: str | None) -> None:
    wkb = pa.array(shapely.to_wkb(shapely.points(LON, LAT)).tolist(), pa.binary())
    geo = '{"primary_column": "where", "columns": {"where": {"encoding": "WKB", "crs": CRS}}}'
    table = NAMES.append_column("where", wkb).replace_schema_metadata(
        {"geo": geo.replace("CRS", crs)}
    )
    pq.write_table(table, tmp_path / "places.parquet")
    if said is None:
        check(read_points(tmp_path / "places.parquet"))
    else:
        with pytest.raises(PointsError, match=said):
            read_points(tmp_path / "places.parquet")


# The beginnings of gzip, bzip2, xz and zstd.
COMPRESSED = (b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,lat,lon,name\na,1,2,b\n", "has two columns 'name': rename or drop one"),
        ("Lat,lat,lon\n1,2,3\n", "2 columns called lat"),
        (b"lat,lon,name\n1,2,Caf\xe9\n", "line 2 is not UTF-8: save the file in that encoding"),
        ("lat,lon\n1,2\n500000,4e6\n", "line 3: lat 500000.0 is out of range"),
        ("y,x\n5e6,4e5\n", r"line 2: lat 5000000.0 .*, in degrees \(EPSG:4326\)"),
        ("h3\n8a3969a41d37ff\n", "line 2: '8a3969a41d37ff' is no H3 cell"),
        ("lat,lon\n\"1,234.5\",2\n", "line 2: lat '1,234.5' is not a number"),
        (b"PK\x03\x04rest", "is a spreadsheet or an archive: save it as CSV"),
        *((head + b"\0\0", "is compressed: unpack it") for head in COMPRESSED),
        ("<?xml version='1.0'?><kml/>", "is XML or a web page: save it as CSV"),
        ("\n<html><body>404</body></html>", "is XML or a web page"),
        ('[{"lat": 1, "lon": 2}]', "is a list in JSON: save it as CSV or GeoJSON"),
        ('{"lat": 1}\n{"lat": 2}\n', r"cannot read .*places\S*'? not recognized as"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", "is no table that can be read"),
        ("name\na\n", "has 0 columns called lat or latitude, and no geometry: it has 'name'"),
        ('{"type": "FeatureCollection", "features": []}', "holds no points"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(PointsError, match=said) as error:
        read(tmp_path, text)
    assert "\n" not in str(error.value)


def test_layers_are_named(tmp_path: Path) -> None:
    path = written(tmp_path, "GPKG")
    pyogrio.raw.write(
        path, shapely.to_wkb(shapely.points(LON, LAT)), [], np.array([], object), driver="GPKG",
        geometry_type="Point", crs="EPSG:4326", layer="second", append=True,
    )  # fmt: skip
    with pytest.raises(PointsError, match=r"has 2 layers \('places', 'second'\): save one of them"):
        read_points(path)


def csv_bytes(tmp_path: Path) -> bytes:
    return "lat,lon,name\n43.7384,7.4246,Café\n43.742,7.4275,b\n".encode()


def parquet_bytes(tmp_path: Path) -> bytes:
    write_points(tmp_path / "made", NAMES, LAT, LON, {})
    return (tmp_path / "made").read_bytes()


def geopackage_bytes(tmp_path: Path) -> bytes:
    return written(tmp_path, "GPKG").read_bytes()


def geojson_bytes(tmp_path: Path) -> bytes:
    return written(tmp_path, "GeoJSON").read_bytes()


@pytest.mark.parametrize("make", [csv_bytes, parquet_bytes, geopackage_bytes, geojson_bytes])
def test_a_damaged_file_is_read_or_refused_in_one_line(
    tmp_path: Path, make: Callable[[Path], bytes]
) -> None:
    whole, moments = make(tmp_path), random.Random(7)
    path = tmp_path / "damaged"
    for _ in range(60):
        path.write_bytes(damaged(whole, moments))
        said, points = outcome(path)
        assert "\n" not in said
        assert points is None or np.isfinite(points.lat).all()


def outcome(path: Path) -> tuple[str, Points | None]:
    try:
        return "", read_points(path)
    except PointsError as error:
        return str(error), None


def damaged(whole: bytes, moments: random.Random) -> bytes:
    """Return the bytes with some changed, cut off or repeated."""
    data = bytearray(whole)
    for _ in range(moments.randint(1, 8)):
        at = moments.randrange(len(data) or 1)
        kind = moments.random()
        if kind < 0.6:
            data[at : at + 1] = moments.choice([b"\0", b"\xff", b"9", b",", b'"', b"\n", b"-"])
        elif kind < 0.8:
            del data[at : at + moments.randint(1, 200)]
        else:
            data[at:at] = data[max(at - 40, 0) : at]
    return bytes(data)
