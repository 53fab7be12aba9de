"""Reading a user's table: CSV, Parquet, GeoPackage, GeoJSON, Shapefile. The content decides.

A column that is only kept stays as it was. A number of a CSV becomes one if it would be written in
the same digits again; 02139 and numbers of 23 digits stay text.
"""

import csv
import json
import os
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pyogrio
from pyogrio.errors import CRSError, DataLayerError, DataSourceError

from tiling.errors import PointsError
from tiling.files.atomic import require_file
from tiling.words import in_one_line, quoted

READABLE = "a CSV, Parquet, GeoPackage, GeoJSON or Shapefile of places"
# Beginnings of files that GDAL reads, with the ending that it expects.
OF_GDAL = {b"SQLite format 3\0": ".gpkg", b"{": ".geojson", b"\0\0\x27\x0a": ".shp"}
# And of files that nobody reads here.
REFUSED = {
    b"PK\x03\x04": "a spreadsheet or an archive: save it as CSV, or unpack it",
    b"\xd0\xcf\x11\xe0": "a spreadsheet: save it as CSV",
    b"\x1f\x8b": "compressed: unpack it",
    b"BZh": "compressed: unpack it",
    b"\xfd7zXZ\0": "compressed: unpack it",
    b"\x28\xb5\x2f\xfd": "compressed: unpack it",
    b"<": "XML or a web page: save it as CSV or GeoJSON",
    b"[": "a list in JSON: save it as CSV or GeoJSON",
    b"ARROW1": "an Arrow file: save it as Parquet",
}
UTF16 = (b"\xff\xfe", b"\xfe\xff")
SEPARATORS = (",", ";", "\t", "|")
HEAD_BYTES = 1 << 16  # of a CSV, to look for the header in
# What a CSV says for a number that is not known.
UNKNOWN = ["", "NA", "N/A", "#N/A", "NaN", "nan", "NULL", "null", "None"]
WHOLE = r"^-?(0|[1-9][0-9]{0,17})$"
DECIMAL = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"
DECIMAL_COMMA = r"^-?(0|[1-9][0-9]*),[0-9]+$"
EXACT_DIGITS = 15  # any decimal of so many digits comes back from a double
MAPNIK_SETS = ("GDAL_DATA", "PROJ_LIB")


@dataclass(frozen=True, slots=True, eq=False)
class UserTable:
    """The rows of a user's file, its geometry as WKB.

    `word`, `first`: what its rows are called in messages, and the number of the first. `geometry`:
    the column of geometries, or None. `crs`: their coordinate system, "" where it is not known.
    """

    path: Path
    table: pa.Table
    word: str
    first: int = 1
    geometry: str | None = None
    crs: str = ""

    def where(self, row: int) -> str:
        """Return what to call a row, counted from 0: "line 2"."""
        return f"{self.word} {self.first + row}"


def require_table(path: Path) -> None:
    """Raise `PointsError` unless `path` is a file that may be read."""
    require_file(path, PointsError, f"give {READABLE}")


def read_table(path: Path) -> UserTable:
    """Read a table; `PointsError` says in one line what is wrong with it, and names the line."""
    require_table(path)
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    try:
        read = _read(path, head)
        read.table.validate(full=True)  # text that is no UTF-8 would raise later
    except (
        pa.ArrowException, OSError, ValueError, KeyError, TypeError, CRSError, DataLayerError,
        DataSourceError,
    ) as error:  # fmt: skip
        raise PointsError(f"cannot read {path}: {in_one_line(error)[:300]}") from error
    twice = [name for name, count in Counter(read.table.column_names).items() if count > 1]
    if twice:
        raise PointsError(f"{path} has two columns {twice[0]!r:.60}: rename or drop one")
    return read


def values_in(path: Path | str, table: pa.Table, name: str) -> list[Any]:
    """Return the values of a column; `PointsError` for times that Python has no words for."""
    try:
        values: list[Any] = table[name].to_pylist()
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise PointsError(
            f"cannot read the column {name!r:.60} of {path}: {in_one_line(error)[:200]}"
        ) from error
    return values


def scalars_in(path: Path | str, table: pa.Table, name: str) -> list[Any]:
    """Return the values of a column of numbers, text or times, and raise as `values_in`.

    Decimal numbers, as databases have for prices, become floats.
    """
    column = table[name]
    if pa.types.is_nested(column.type) or "binary" in str(column.type):
        raise PointsError(
            f"the column {name!r:.60} of {path} holds {column.type}: it must hold numbers or text"
        )
    if pa.types.is_decimal(column.type):
        table = pa.table({name: column.cast(pa.float64())})
    return values_in(path, table, name)


def _read(path: Path, head: bytes) -> UserTable:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")
    for beginning, advice in REFUSED.items():
        if head.startswith(beginning) or text.startswith(beginning):
            raise PointsError(f"{path} is {advice}")
    if head.startswith(b"PAR1"):
        return _read_parquet(path)
    for beginning, ending in OF_GDAL.items():
        if text.startswith(beginning):
            return _read_gdal(path, ending)
    return _read_csv(path, head)


def _read_parquet(path: Path) -> UserTable:
    table = pq.read_table(path, partitioning=None)
    try:
        geo = json.loads((table.schema.metadata or {}).get(b"geo", b"{}"))
        name = geo.get("primary_column", "geometry")
        if name not in table.column_names:
            return UserTable(path, table, "row")
        crs = _named(geo.get("columns", {}).get(name, {}).get("crs", ""))
    except (AttributeError, RecursionError, KeyError, TypeError, ValueError) as error:
        raise PointsError(
            f"cannot read {path}: what it says of its geometries is no GeoParquet"
        ) from error
    return UserTable(path, table, "row", geometry=name, crs=crs)


def _named(crs: Any) -> str:
    """Return the name of a coordinate system in PROJJSON (https://proj.org/specifications)."""
    if not isinstance(crs, dict):
        return str(crs or "")
    known = crs.get("id", {})
    return f"{known['authority']}:{known['code']}" if known else str(crs.get("name", "unknown"))


def _read_gdal(path: Path, ending: str) -> UserTable:
    with _for_gdal(path, ending) as named:
        try:
            layers = [str(name) for name, _ in pyogrio.list_layers(named)]
        except DataSourceError as error:
            said = in_one_line(error).replace(str(named), str(path)).partition("; It might")[0]
            raise PointsError(f"cannot read {path}: {said}") from error
        if len(layers) != 1:
            raise PointsError(
                f"{path} has {len(layers)} layers ({quoted(layers)}): save one of them alone"
            )
        facts, table = pyogrio.raw.read_arrow(named)
    name = facts["geometry_name"] or "wkb_geometry"
    geometry = name if name in table.column_names else None
    return UserTable(path, table, "feature", geometry=geometry, crs=str(facts["crs"] or ""))


@contextmanager
def _for_gdal(path: Path, ending: str) -> Iterator[Path]:
    """Give GDAL a name with the ending that it expects.

    What it warns of is found by whoever reads the table.
    """
    with tempfile.TemporaryDirectory() as folder, own_gdal_data(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        named = path
        if ending != ".shp":  # its other files have its name
            named = Path(folder) / f"table{ending}"
            named.symlink_to(path.resolve())
        yield named


@contextmanager
def own_gdal_data() -> Iterator[None]:
    """Let pyogrio find its own data: importing Mapnik names other ones for the whole process."""
    theirs = {name: os.environ.pop(name) for name in MAPNIK_SETS if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(theirs)


def _read_csv(path: Path, head: bytes) -> UserTable:
    source: Any = path
    if head.startswith(UTF16):
        data = path.read_bytes().decode("utf-16").encode()
        source, head = pa.BufferReader(data), data[:HEAD_BYTES]
    if b"\0" in head:
        raise PointsError(f"{path} is no table that can be read: give {READABLE}")
    if source is path:
        _require_utf8(path)
    separator, names, skipped = _header(head)
    broken: list[str] = []

    def stop(row: pyarrow.csv.InvalidRow) -> str:
        where = f"line {row.number}" if row.number else f"the line {row.text!r}"
        broken.append(
            f"{where} has {row.actual_columns} columns, the header {row.expected_columns}"
        )
        return "error"

    parsing = pyarrow.csv.ParseOptions(
        delimiter=separator, newlines_in_values=True, invalid_row_handler=stop
    )
    # Row numbers are known to one thread alone.
    reading = pyarrow.csv.ReadOptions(use_threads=False, skip_rows=skipped)
    as_text = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
    try:
        table = pyarrow.csv.read_csv(source, reading, parsing, as_text)
    except pa.ArrowInvalid as error:
        said = broken[0] if broken else error
        raise PointsError(f"cannot read {path}: {said}") from error
    columns = [_typed(column, separator) for column in table.columns]
    names = [name.strip() for name in table.column_names]
    return UserTable(path, pa.table(columns, names), "line", first=2 + skipped)


def _header(head: bytes) -> tuple[str, list[str], int]:
    """Return the separator that makes the most of the header, the names, and the lines before it.

    Excel writes a line "sep=;" before the header.
    """
    lines = head.decode("utf-8-sig", "replace").splitlines()
    skipped = int(bool(lines) and lines[0].lower().startswith("sep="))
    line = lines[skipped : skipped + 1]
    rows = {
        separator: next(csv.reader(line, delimiter=separator), [])  # it knows quotes
        for separator in SEPARATORS
    }
    separator = max(rows, key=lambda each: len(rows[each]))
    return separator, rows[separator], skipped


def _require_utf8(path: Path) -> None:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                advice = "save the file in that encoding"
                raise PointsError(f"{path}, line {number} is not UTF-8: {advice}") from error


def _typed(column: pa.ChunkedArray, separator: str) -> pa.ChunkedArray:
    """Return a column of text as numbers, if all that it says comes back from them."""
    if not pa.types.is_string(column.type):
        return column
    known = pc.if_else(pc.is_in(column, pa.array(UNKNOWN)), pa.scalar(None, pa.string()), column)
    if known.null_count == len(known):
        return known
    if _all(pc.match_substring_regex(known, WHOLE)):
        return known.cast(pa.int64())
    if separator == ";":  # there a comma stands before the decimals
        comma = pc.match_substring_regex(known, DECIMAL_COMMA)
        known = pc.if_else(comma, pc.replace_substring(known, ",", "."), known)
    if not _all(pc.match_substring_regex(known, DECIMAL)):
        return pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
    numbers = known.cast(pa.float64())
    digits = pc.utf8_length(pc.replace_substring_regex(known, "[^0-9]", ""))
    again = pc.equal(numbers.cast(pa.string()), known)
    exact = pc.or_(pc.less_equal(digits, EXACT_DIGITS), again)
    return numbers if _all(exact) else column


def _all(flags: pa.ChunkedArray) -> bool:
    return bool(pc.all(flags, min_count=0).as_py())
