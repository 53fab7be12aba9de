"""`Client`: the verbs of `LocationEncoder`, answered by a service.

Needs the extra `client`; loads no PyTorch.
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, Self

import httpx2
import numpy as np

from loc2vec.errors import ClientError
from loc2vec.model.arrays import Floats, Vector, Vectors

PLACES_PER_REQUEST = 128  # the most that a service takes where all are new
RETRIES = 5  # of a busy service
TIMEOUT_S = 60.0

Place = tuple[float, float] | str  # (lat, lon) in degrees, an H3 cell, or a name
CELL = re.compile("[0-9a-fA-F]{15}")


@dataclass(frozen=True, slots=True)
class Neighbor:
    """An indexed place.

    Distances in the embedding, and on the ground in metres where a place was asked about.
    `closer_than`: the share of random pairs that are farther apart. `columns` and `called`: what
    was asked for with `columns` and `names`.
    """

    id: int
    lat: float
    lon: float
    distance: float
    ground_distance_m: float | None
    closer_than: float
    columns: dict[str, Any] | None = None
    called: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class NamedPlace:
    """A place with its name; `kind` says what it is, as "town" or "street"."""

    name: str
    kind: str
    lat: float
    lon: float


@dataclass(frozen=True, slots=True)
class TaughtPlace:
    """An indexed place, and how like the examples it is; `probability` is that of its `label`."""

    id: int
    lat: float
    lon: float
    label: str
    probability: float
    columns: dict[str, Any] | None = None
    called: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Taught:
    """What examples say of other places.

    `kinds`: the labels in the order of the examples; `probabilities` float64 [n, kinds]: of the
    places that were asked about. `best`: the likeliest indexed places of each kind; `ask`: those
    whose answer would teach most.
    """

    kinds: tuple[str, ...]
    probabilities: Floats
    best: list[TaughtPlace]
    ask: list[TaughtPlace]


class Client:
    """A service at `url`; `key` is its API key, where it needs one.

    It retries after `Retry-After` when the service is busy.
    """

    def __init__(self, url: str, key: str | None = None, http: httpx2.Client | None = None) -> None:
        """`http`: your own HTTP client, with proxies or certificates; closed with this one."""
        self._http = http or httpx2.Client(timeout=TIMEOUT_S)
        self._url = url.rstrip("/")
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}

    def encode(
        self, places: Place | Sequence[Place], outside: Literal["refuse", "null"] = "refuse"
    ) -> Vectors:
        """Encode one place as float32 [D], many as float32 [n, D] in their order.

        A place is a (lat, lon) pair in degrees, an H3 cell (15 hexadecimal digits), or a name of
        one place. With `outside` = "null", places outside the data get NaN, and the others their
        vectors. Raises `ClientError` with the message of the service.
        """
        if _is_place(places):
            return self.encode([places], outside).reshape(-1)  # type: ignore[list-item]
        locations = [_location(place) for place in places]  # type: ignore[arg-type]
        parts = [
            self._embeddings(locations[start : start + PLACES_PER_REQUEST], outside)
            for start in range(0, len(locations), PLACES_PER_REQUEST)
        ]
        return (
            np.concatenate(parts) if parts else np.empty((0, int(self.info()["dim"])), np.float32)
        )

    def similarity(self, a: Vectors, b: Vectors) -> Vectors:
        """Return minus the Euclidean distance of each pair: [n, D], [m, D] -> float32 [n, m]."""
        first, second = (np.atleast_2d(np.asarray(v, np.float64)) for v in (a, b))
        similarity: Vectors = (0 - np.linalg.norm(first[:, None] - second[None], axis=2)).astype(
            np.float32
        )
        return similarity

    def neighbors(self, place: Place, k: int = 10, **filters: Any) -> list[Neighbor]:
        """Return the `k` indexed places nearest to a place, nearest first.

        `filters`: bbox "W,S,E,N", min_distance_m, within, not_within, where
        ("price < 200 and kind in (cafe, bar)"), spread_m, columns ("price,kind"), names.
        """
        answer = self._ask("GET", "/neighbors", params={**_location(place), "k": k, **filters})
        return [Neighbor(**near) for near in answer["neighbors"]]

    def neighbors_of(self, embedding: Vector, k: int = 10, **filters: Any) -> list[Neighbor]:
        """Return the `k` indexed places nearest to a vector [D], nearest first."""
        asked = {"embedding": np.asarray(embedding, np.float64).tolist(), "k": k, **filters}
        return [
            Neighbor(**near) for near in self._ask("POST", "/neighbors", json=asked)["neighbors"]
        ]

    def predict(
        self,
        examples: Sequence[tuple[Place, str | None]],
        places: Sequence[Place] = (),
        **asked: Any,
    ) -> Taught:
        """Learn from places with their labels, None for none of them, and score other places.

        `asked`: k (of each kind), ask, and the filters of `neighbors`. Raises `ClientError` with
        the message of the service.
        """
        given = [{**_location(place), "label": label} for place, label in examples]
        body = {"examples": given, "places": [_location(place) for place in places], **asked}
        answer = self._ask("POST", "/predict", json=body)
        kinds = tuple(answer["kinds"])
        rows = [[one["probabilities"][kind] for kind in kinds] for one in answer["places"]]
        best, ask = ([TaughtPlace(**one) for one in answer[name]] for name in ("best", "ask"))
        return Taught(kinds, np.array(rows, np.float64).reshape(-1, len(kinds)), best, ask)

    def places(self, name: str, limit: int = 10) -> list[NamedPlace]:
        """Return the places with a name, which may be unfinished, best first."""
        answer = self._ask("GET", "/places", params={"q": name, "limit": limit})
        return [NamedPlace(**place) for place in answer["places"]]

    def info(self) -> dict[str, Any]:
        """Return what is being served."""
        return self._ask("GET", "/info")

    def _embeddings(self, locations: Sequence[Mapping[str, Any]], outside: str) -> Vectors:
        answer = self._ask("POST", "/embed", json={"locations": locations, "outside": outside})
        nothing = [np.nan] * answer["dim"]
        return np.array([each["embedding"] or nothing for each in answer["embeddings"]], np.float32)

    def _ask(self, method: str, path: str, **asked: Any) -> dict[str, Any]:
        for pause_s in self._pauses():
            try:
                response = self._http.request(
                    method, self._url + path, headers=self._headers, **asked
                )
            except httpx2.HTTPError as error:
                raise ClientError(f"{self._url} does not answer: {error}") from error
            if response.is_success:
                answer: dict[str, Any] = response.json()
                return answer
            if (
                response.status_code not in (429, 503)
                or pause_s is None
                or "retry-after" not in response.headers
            ):
                raise ClientError(_told(response))
            time.sleep(min(float(response.headers["retry-after"]), pause_s))
        raise AssertionError("unreachable: the last pause is None")

    def _pauses(self) -> Iterator[float | None]:
        """Yield the longest pause after each attempt, seconds; None after the last."""
        yield from (2.0**attempt for attempt in range(RETRIES))
        yield None

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _is_place(value: object) -> bool:
    return isinstance(value, str) or (
        isinstance(value, Sequence)
        and len(value) == 2
        and all(isinstance(number, Real) for number in value)
    )


def _location(place: Place) -> dict[str, Any]:
    if isinstance(place, str):
        return {"h3" if CELL.fullmatch(place) else "place": place}
    if not _is_place(place):
        raise ClientError(
            f"{place!r} is neither a (lat, lon) pair in degrees nor an H3 cell nor a name"
        )
    return {"lat": float(place[0]), "lon": float(place[1])}


def _told(response: httpx2.Response) -> str:
    """Return the detail of a problem document, or the status of another answer."""
    try:
        return f"{response.json()['detail']} (status {response.status_code})"
    except (ValueError, KeyError, TypeError):
        return f"the service answered with status {response.status_code}"
