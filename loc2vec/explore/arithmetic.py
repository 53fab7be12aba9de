"""Sums and differences of places: "A - B + C", and the real places nearest to the result."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from loc2vec.embed.algebra import Vector, combine
from loc2vec.errors import ExploreError
from loc2vec.explore.space import Space, place_of
from loc2vec.paper.page import page
from loc2vec.paper.plot import Figure, sheet
from loc2vec.paper.strips import Cell, Row, Strips, View

# An operator stands alone: "Saint-Roman" and "-33.9,18.4" hold none. Quotes take in everything.
TOKEN = re.compile(
    r"""\s*(?:(?P<operator>[+\-−])(?=\s|$)|"(?P<quoted>[^"]*)"|(?P<bare>[^\s"]+(?:\s+(?![+\-−](?:\s|$))[^\s"]+)*))"""
)


class Term(NamedTuple):
    """An operand: +1 or -1, and what it is called in the expression."""

    sign: int
    place: str


@dataclass(frozen=True, eq=False)
class Arithmetic:
    """An expression, its operands, the vector float32 [D] that it comes to, and the nearest places."""

    expression: str
    terms: Sequence[Term]
    operands: Sequence[View]
    vector: Vector
    nearest: Sequence[View]
    distances: Sequence[float]
    strips: Strips

    def figure(self) -> Figure:
        """Draw the operands and the result as strips of tiles."""
        return sheet(self.strips)

    def page(self) -> str:
        """Return operands and result as a page."""
        return page(self.strips.title, self.strips.lead, [self.strips.rows], self.strips.channels)


def parse(expression: str) -> list[Term]:
    """Read an expression, or raise `ExploreError` that says where it does not go on as it should.

    >>> parse("Port - 43.73,7.42 + 'Rue - Basse'".replace("'", '"'))
    [Term(sign=1, place='Port'), Term(sign=-1, place='43.73,7.42'), Term(sign=1, place='Rue - Basse')]
    """
    terms: list[Term] = []
    at, sign = 0, 1  # of the place that is expected, 0 when an operator is
    while expression[at:].strip():
        start = len(expression) - len(expression[at:].lstrip())
        match = TOKEN.match(expression, start)
        if match is None:
            raise _error(expression, start, "a quote is opened and not closed")
        if sign and match["operator"]:
            raise _error(expression, start, f"a place is expected before {match['operator']!r}")
        if not sign and not match["operator"]:
            raise _error(
                expression, start, "+ or - is expected between two places, with spaces around it"
            )
        if match["operator"]:
            sign = 1 if match["operator"] == "+" else -1
        else:
            terms.append(Term(sign, match["bare"] or match["quoted"]))
            sign = 0
        at = match.end()
    if sign:
        raise _error(expression, len(expression.rstrip()), "a place is expected")
    return terms


def _error(expression: str, at: int, message: str) -> ExploreError:
    rest = f" ({expression[at : at + 20]!r})" if expression[at:].strip() else " (its end)"
    return ExploreError(
        f'expression {expression!r}, position {at + 1}{rest}: {message}; for example "A - B + C"'
    )


def arithmetic(space: Space, expression: str, k: int = 5, apart_m: float = 200.0) -> Arithmetic:
    """Reckon with the vectors of places, and find the `k` places nearest to the result, none near an operand.

    Raises `ExploreError` when the expression does not parse,
    `k` is more than there are, or every place lies near an operand.
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
    nearest, distances = (
        space.views([place_of(near) for near in found]),
        [near.distance for near in found],
    )
    strips = _strips(terms, operands, nearest, distances, space)
    return Arithmetic(expression, terms, operands, vector, nearest, distances, strips)


def _strips(
    terms: Sequence[Term],
    operands: Sequence[View],
    nearest: Sequence[View],
    distances: Sequence[float],
    space: Space,
) -> Strips:
    signs = [
        "" if number == 0 and term.sign > 0 else "+ " if term.sign > 0 else "− "
        for number, term in enumerate(terms)
    ]
    cells = [
        Cell.of(view, f"{sign}{letter}")
        for sign, letter, view in zip(
            signs, "ABCDEFGHIJKLMNOPQRSTUVWXYZ" * 9, operands, strict=False
        )
    ]
    results = [
        Cell.of(view, f"d {distance:.2f}")
        for view, distance in zip(nearest, distances, strict=True)
    ]
    formula = " ".join(cell.heading for cell in cells)
    return Strips(
        f"{formula} =",
        "The vectors of the upper places are added and taken away; below are the real places whose vectors are nearest "
        "to the result, nearest first (d: distance in the space). None of them is an operand or near one.",
        [Row("operands", cells), Row("nearest to the result", results)],
        space.side_m,
        space.channels,
    )
