"""What an index folder says of itself, and whether its files are as they were written."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from service.errors import SearchIndexError
from service.index.scale import Scale
from tiling.errors import UserError
from tiling.files.atomic import read_json, write_json
from tiling.values import ATTRIBUTION

FACTS = "index.json"
FORMAT = 1
MOST_FACTS = 100_000  # bytes
NAME_DIGITS = 12  # of the hash of the vectors
WORDS = ("model", "fingerprint", "store", "vectors_sha256")


@dataclass(frozen=True, slots=True)
class Facts:
    """What an index says of itself: `checksums` of its files by name, `sha256` of its vectors."""

    model: str
    fingerprint: str
    store: str
    sha256: str
    dim: int
    count: int
    checksums: Mapping[str, str]
    scale: Scale

    @property
    def name(self) -> str:
        """The start of the hash of the vectors."""
        return self.sha256[:NAME_DIGITS]

    def write(self, folder: Path) -> None:
        """Write them into the folder of the index, atomically."""
        facts = {
            "format": FORMAT,
            "model": self.model,
            "fingerprint": self.fingerprint,
            "store": self.store,
            "dim": self.dim,
            "count": self.count,
            "vectors_sha256": self.sha256,
            "checksums": dict(self.checksums),
            "attribution": ATTRIBUTION,
            "pair_distances": self.scale.steps.tolist(),
        }
        write_json(folder / FACTS, facts)

    def fit(self, path: Path) -> bool:
        """Tell whether a file of the folder is as it was written."""
        return path.is_file() and self.checksums.get(path.name) == checksum(path)


def read_facts(folder: Path) -> Facts:
    """Return the facts in a folder; `SearchIndexError` when it is no index, or damaged."""
    path = folder / FACTS
    try:
        if not path.is_file() or path.stat().st_size > MOST_FACTS:
            raise UserError(f"{path} is missing or holds something else")
        facts = read_json(path)
    except (UserError, OSError) as error:
        raise SearchIndexError(
            f"{folder} is not an index folder: make one with `loc2vec index`"
        ) from error
    try:
        return _facts(facts)
    except (TypeError, ValueError, LookupError) as error:
        raise SearchIndexError(
            f"{path} is damaged or of another version: make the index again"
        ) from error


def _facts(facts: dict[str, Any]) -> Facts:
    model, fingerprint, store, sha256 = words = [facts[name] for name in WORDS]
    dim, count = numbers = [facts["dim"], facts["count"]]
    if (
        facts["format"] != FORMAT
        or not all(isinstance(word, str) for word in words)
        or not all(type(number) is int and number > 0 for number in numbers)
        or not isinstance(facts["checksums"], dict)
    ):
        raise ValueError("no facts")
    scale = Scale.read(facts["pair_distances"])
    return Facts(model, fingerprint, store, sha256, dim, count, facts["checksums"], scale)


def name_of(folder: Path) -> str:
    """Return the name of the index in a folder; `SearchIndexError` when it is none."""
    return read_facts(folder).name


def checksum(path: Path) -> str:
    """Return the XXH3 of a file, as 32 hexadecimal digits.

    It finds each byte that was lost or turned on a disk or on a way, at the speed of reading. It is
    no defence against somebody who chooses bytes and also writes the facts.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()
