"""Tables of any user, written in every kind of file: nothing of a column is lost."""

import csv
import decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tiling.files.tables import read_table
from tiling.files.write import WRITERS, write_table

PLACE = np.array([43.7]), np.array([7.4])
HELD: list[tuple[pa.DataType, Any, str | None]] = [
    (pa.decimal128(9, 2), decimal.Decimal("1.50"), "1.50"),
    (pa.null(), None, None),
    (pa.list_(pa.string()), ["a", "é"], '["a", "é"]'),
    (pa.struct({"x": pa.binary()}), {"x": b"\xff"}, '{"x": "ff"}'),
    (pa.list_(pa.date32()), [0], '["1970-01-01"]'),
    (pa.binary(), b"\x00\xff", "00ff"),
    (pa.string_view(), "a", "a"),
    (pa.json_(pa.string()), "{}", "{}"),
    (pa.duration("s"), 60, "60"),
    (pa.timestamp("s", "Mars/Base"), 0, "1970-01-01 00:00:00Z"),
]


@pytest.mark.parametrize("ending", WRITERS)
@pytest.mark.parametrize(("kind", "value", "text"), HELD, ids=[str(kind) for kind, _, _ in HELD])
def test_a_column_of_any_kind_is_written(
    tmp_path: Path, ending: str, kind: pa.DataType, value: Any, text: str | None
) -> None:
    path = tmp_path / f"out{ending}"
    storage = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    write_table(path, pa.table({"held": pa.array([value], storage).cast(kind)}), *PLACE, {})
    if ending == ".csv":
        with path.open(newline="") as file:
            assert list(csv.reader(file))[1:] == ([[text]] if text else [[]])


@pytest.mark.parametrize(
    "columns",
    [
        {"fid": ["a", "a"]}, {"FID": [1.5, 1.5]}, {"fid": [7, 7]}, {"Name": [1, 2], "name": [3, 4]},
        {"geom": [1, 2]}, {"GEOMETRY": [1, 2]},
    ],
)  # fmt: skip
@pytest.mark.parametrize("ending", [".gpkg", ".geojson"])
def test_names_of_columns_do_not_meet_those_of_gdal(
    tmp_path: Path, ending: str, columns: dict[str, list[object]]
) -> None:
    path = tmp_path / f"out{ending}"
    write_table(path, pa.table(columns), np.array([1.0, 2.0]), np.array([3.0, 4.0]), {})
    read = read_table(path)
    kept = [c.to_pylist() for n, c in zip(read.table.column_names, read.table.columns, strict=True)
            if n != read.geometry]  # fmt: skip
    assert kept == list(columns.values())
