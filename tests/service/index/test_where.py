import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from service.errors import ColumnError, FilterError
from service.index.passing import passing
from service.index.where import MOST_TESTS, parse_where

LONG = 617700169958293503  # an H3 cell, which a float64 cannot tell from its neighbour
TABLE = pa.table(
    {
        "price": [100, None, 300],
        "kind": ["café", "ice cream", None],
        "size": pa.array([0.1, float("nan"), 2], pa.float32()),
        "open": [True, False, None],
        "h3": pa.array([LONG, LONG + 1, 1], pa.uint64()),
        "day": pa.array(["2024-01-01", "2025-06-30", None]).cast(pa.date32()),
        "when": pa.array(["2024-01-01T12:00:00", None, "2025-01-01T00:00:00"])
        .cast(pa.timestamp("ms"))
        .cast(pa.timestamp("ms", "UTC")),
        "code": pa.array(["a", "b", "a"]).dictionary_encode(),
        'it\'s "mine"': ["x", "y", "it's"],
        "in": [1, 2, 3],
        "wkb": [b"1", b"2", b"3"],
    }
)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("price < 200", [0]),
        ("not price < 200", [2]),  # nobody knows what the second one costs
        ("price = 100 or price is null", [0, 1]),
        ("price is not null and open is not null", [0]),
        ("price<200 and kind in (café, 'ice cream')", [0]),
        ("kind not in (café)", [1]),
        ("not (kind = café or kind = 'ice cream')", []),
        ("price = 300 or price = 100 and open = true", [0, 2]),  # `and` binds more closely
        ("(price = 300 or price = 100) and open = true", [0]),
        ("price <> 100", [2]),
        ("size = 0.1", [0]),
        ("size is null", [1]),
        ("not size > 1", [0, 1]),
        ("open != TRUE", [1]),
        (f"h3 = {LONG}", [0]),
        (f"h3 in ({LONG + 1}, 1)", [1, 2]),
        ("h3 > -1", [0, 1, 2]),
        ("h3 < 1e300 and price >= 1e2", [0, 2]),
        ("price < 99999999999999999999999999", [0, 2]),
        ("price = 1e999", []),
        ("day >= 2024-06-01", [1]),
        ("when > '2024-01-01T11:00:00Z'", [0, 2]),
        ("code = a", [0, 2]),
        ('"it\'s ""mine""" = \'it\'\'s\'', [2]),
        ("in in (1, 3)", [0, 2]),
    ],
)
def test_a_filter_means_what_it_says(text: str, rows: list[int]) -> None:
    short = [c.dictionary_encode() if pa.types.is_string(c.type) else c for c in TABLE.columns]
    for table in (TABLE, pa.table(short, TABLE.column_names)):  # an index keeps few texts once each
        assert np.flatnonzero(passing(parse_where(text), table)).tolist() == rows


def test_json_is_that_of_cql2() -> None:
    price, kind = {"property": "price"}, {"property": "kind"}
    given = {
        "op": "and",
        "args": [
            {
                "op": "or",
                "args": [{"op": "<", "args": [price, 200]}, {"op": "isNull", "args": [price]}],
            },
            {"op": "not", "args": [{"op": "in", "args": [kind, ["bar", "pub"]]}]},
        ],
    }  # fmt: skip
    text = "(price < 200 or price is null) and kind not in (bar, pub)"
    assert parse_where(given) == parse_where(text)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("price < 200 or", "ends too early"),
        ("", "ends too early"),
        ("price << 200", "'< 200' makes no sense there"),
        ("price < 200; drop", "'; drop' makes no sense"),
        ("kind in cafe", "'cafe' makes no sense"),
        ("kind in ()", r"'\)' makes no sense"),
        ("x" * 3000, "3000 letters"),
        ("not " * 30 + "price > 1", "nested more than"),
        ("(" * 500 + "price > 1" + ")" * 500, None),
        (" and ".join(["price > 1"] * (MOST_TESTS + 1)), "51 comparisons"),
        (f"price in ({','.join(['1'] * 300)})", "300 values"),
        ({}, "no condition"),
        ({"op": "and", "args": []}, "no condition"),
        ({"op": "like", "args": [{"property": "kind"}, "a%"]}, "'like' with 2 args"),
        ({"op": "<", "args": ["price", 1]}, "'<' with 2 args"),
        ({"op": "<", "args": [{"property": "price"}, None]}, "'<' with 2 args"),
        ({"op": ["<"], "args": [{"property": "price"}, 1]}, "no condition"),
        ({"op": "in", "args": [{"property": "price"}, [[1]]]}, "no condition"),
        ("price = cheap", "holds numbers, not 'cheap'"),
        ("kind = 3", "holds text, not '3': put it between quotes"),
        ("open = 1", "holds true or false, not '1'"),
        ("day > soon", "holds times, not 'soon': write a time like"),
    ],
)
def test_what_is_no_filter_is_refused(given: Any, told: str | None) -> None:
    if told is None:
        assert passing(parse_where(given), TABLE).tolist() == [True, False, True]
        return
    with pytest.raises(FilterError, match=told):
        passing(parse_where(given), TABLE)


@pytest.mark.parametrize("name", ["prize", "wkb"])
def test_a_column_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(ColumnError, match=f"no column '{name}', its columns are price, kind"):
        passing(parse_where(f"{name} = 1"), TABLE)
    with pytest.raises(ColumnError, match="its columns are none"):
        passing(parse_where(f"{name} = 1"), None)


PIECES = [
    *TABLE.column_names, *["price < 1", "kind = 'a'", "code in (a, b)", "open is null"] * 5,
    "and", "or", "not", "in", "is", "null", "true", "(", ")", ",", "=", "<>",
    "<", ">=", "'", '"', "''", "'a'", "1", "-1", "1e5", "1e999", "9" * 40, ".", "nan", "inf", "é",
    "\x00", "\ud800", "\u202e", "٣", "%", "--", "/*", ";", "{}", "\\", "\n", "2024-01-01", "0x1",
]  # fmt: skip
VALUES: list[Any] = [
    None, True, 0, -1, 10**40, 1.5, float("nan"), float("inf"), "", "a", "\ud800", [], [1],
    ["a", 1], {}, {"property": "price"}, {"property": "kind"}, {"property": ""}, {"property": 1},
]  # fmt: skip


def _text(rng: random.Random) -> Any:
    pieces = rng.choices(PIECES, k=rng.randrange(1, 9))
    return rng.choice([" ", ""]).join(pieces)


def _json(rng: random.Random) -> Any:
    if rng.random() < 0.2:
        return {"op": rng.choice(["=", "<"]), "args": [{"property": "price"}, 1]}
    if rng.random() < 0.4:
        return rng.choice(VALUES)
    op = rng.choice(["and", "or", "not", "=", "<", "in", "isNull", "x", None, 1])
    args = [_json(rng) for _ in range(rng.randrange(4))]
    return {"op": op, "args": rng.choice([args, "abc", None, 1]) if rng.random() < 0.1 else args}


@pytest.mark.parametrize("make", [_text, _json])
def test_ten_thousand_hostile_filters_are_answered_or_refused(
    make: Callable[[random.Random], Any],
) -> None:
    rng, answered, told = random.Random(0), 0, list[str]()
    for _ in range(5000):
        given = make(rng)
        try:
            passing(parse_where(given), TABLE)
            answered += 1
        except (FilterError, ColumnError) as error:
            told.append(str(error))
    assert all("\n" not in text and len(text) < 1000 for text in told)
    assert 100 < answered < 2500
