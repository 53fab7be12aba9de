"""Sums and differences of places: "A - B + C", and the real places nearest to the result."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from loc2vec.embed.algebra import combine
from loc2vec.errors import ExploreError
from loc2vec.explore.space import Space, place_of
from loc2vec.model.arrays import Vector
from loc2vec.paper.sheet import Sheet
from loc2vec.paper.strips import Cell, Row, Strips, View

# An operator stands alone: "Saint-Roman" and "-33.9,18.4" hold none. Quotes take in everything.
TOKEN = re.compile(
    r"""\s*(?:
        (?P<operator>[+\-−])(?=\s|$)
        | "(?P<quoted>[^"]*)"
        | (?P<bare>[^\s"]+(?:\s+(?![+\-−](?:\s|$))[^\s"]+)*)
    )""",
    re.VERBOSE,
)
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ" * 9  # names of operands


class Term(NamedTuple):
    """An operand: +1 or -1, and what it is called in the expression."""

    sign: int
    place: str


@dataclass(frozen=True, eq=False)
class Arithmetic(Sheet):
    """An expression, its operands, its value and the places nearest to that.

    `vector` float32 [D]: the value; `distances` from it in the space, one a place of `nearest`.
    """

    expression: str
    terms: Sequence[Term]
    operands: Sequence[View]
    vector: Vector
    nearest: Sequence[View]
    distances: Sequence[float]


def parse(expression: str) -> list[Term]:
    """Parse an expression; raises `ExploreError`, which names the position of a mistake.

    >>> parse('Port - "Rue - Basse"')
    [Term(sign=1, place='Port'), Term(sign=-1, place='Rue - Basse')]
    """
    terms: list[Term] = []
    at, sign = 0, 1  # sign of the place that is expected, 0 when an operator is
    while expression[at:].strip():
        match = _token(expression, at, place_expected=sign != 0)
        if match["operator"]:
            sign = 1 if match["operator"] == "+" else -1
        else:
            terms.append(Term(sign, match["bare"] or match["quoted"]))
            sign = 0
        at = match.end()
    if sign:
        raise _error(expression, len(expression.rstrip()), "a place is expected")
    return terms


def _token(expression: str, at: int, place_expected: bool) -> re.Match[str]:
    """Return the next operator or place, and refuse one where the other is expected."""
    start = len(expression) - len(expression[at:].lstrip())
    match = TOKEN.match(expression, start)
    if match is None:
        raise _error(expression, start, "a quote is opened and not closed")
    operator = match["operator"]
    if place_expected and operator:
        raise _error(expression, start, f"a place is expected before {operator!r}")
    if not place_expected and not operator:
        message = "+ or - is expected between two places, with spaces around it"
        raise _error(expression, start, message)
    return match


def _error(expression: str, at: int, message: str) -> ExploreError:
    rest = f" ({expression[at : at + 20]!r})" if expression[at:].strip() else " (its end)"
    return ExploreError(
        f'expression {expression!r}, position {at + 1}{rest}: {message}; for example "A - B + C"'
    )


def arithmetic(space: Space, expression: str, k: int = 5, apart_m: float = 200.0) -> Arithmetic:
    """Add and subtract the vectors of places, and find the `k` places nearest to the result.

    No result lies within `apart_m` of an operand on the ground. Raises `ExploreError` when the
    expression does not parse, fewer than `k` places are indexed, or all lie near an operand.
    """
    terms = parse(expression)
    space.require(k)
    places = [space.locate(term.place) for term in terms]
    operands = space.views(places)
    vectors = space.embed(operands)
    signs = np.array([term.sign for term in terms])
    vector = combine(vectors[signs > 0], vectors[signs < 0])
    found = space.nearest(vector, k, places, apart_m)
    if not found:
        raise ExploreError(
            f"every indexed place lies within {apart_m:.0f} m of an operand: give a larger index"
        )
    nearest = space.views([place_of(near) for near in found])
    distances = [near.distance for near in found]
    results = [
        Cell.of(view, f"d {distance:.2f}")
        for view, distance in zip(nearest, distances, strict=True)
    ]
    strips = _strips(_operand_cells(terms, operands), results, space)
    return Arithmetic(strips, expression, terms, operands, vector, nearest, distances)


def _operand_cells(terms: Sequence[Term], operands: Sequence[View]) -> list[Cell]:
    """Show the operands as A, - B, + C."""
    signs = ["+ " if term.sign > 0 else "− " for term in terms]
    signs[0] = signs[0].replace("+ ", "")
    return [
        Cell.of(view, f"{sign}{letter}")
        for sign, letter, view in zip(signs, LETTERS, operands, strict=False)
    ]


def _strips(operands: Sequence[Cell], results: Sequence[Cell], space: Space) -> Strips:
    formula = " ".join(cell.heading for cell in operands)
    return Strips(
        f"{formula} =",
        "The vectors of the upper places are added and subtracted. Below are the real places "
        "whose vectors are nearest to the result, nearest first (d: distance in the space). None "
        "of them is an operand or near one.",
        [Row("operands", operands), Row("nearest to the result", results)],
        space.side_m,
        space.channels,
    )
