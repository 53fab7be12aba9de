"""The errors of the whole system: two base classes, and the subclasses of this package.

Each package adds subclasses of its own.
"""

from collections.abc import Sequence
from typing import Any


class Loc2VecError(Exception):
    """Something failed; the message says in one line what, and what to do about it."""

    exit_status = 1


class UserError(Loc2VecError):
    """The input is at fault, not the machine: a command ends with status 2."""

    exit_status = 2


class ExtractError(UserError):
    """An OSM extract cannot be read."""


class LossError(ExtractError):
    """Too many objects of an extract cannot be built; a command ends with status 3."""

    exit_status = 3


class CatalogueError(UserError):
    """The channel catalogue breaks its own rules."""


class StoreError(UserError):
    """A feature store is missing, damaged or not one of ours."""


class StoreUnavailableError(Loc2VecError):
    """The database of a feature store does not answer, for now."""


class StoreReplacedError(Loc2VecError):
    """The store was replaced after it was opened."""


class ReplicationError(Loc2VecError):
    """A replication server lacks the changes that were requested."""


class ReplicationAwayError(ReplicationError):
    """A replication server does not answer, for now."""


class FetchError(Loc2VecError):
    """A server does not answer, or sends another file than it says."""


class RegionError(UserError):
    """No region of a provider has this name, or several have it."""


class NameSearchError(UserError):
    """A name does not identify one place.

    `candidates`: places that may be meant (`tiling.osm.names.NamedPlace`).
    """

    def __init__(self, message: str, candidates: Sequence[Any]) -> None:
        super().__init__(message)
        self.candidates = candidates


class UnknownNameError(NameSearchError):
    """No place of a store has this name; the candidates have similar ones."""


class AmbiguousNameError(NameSearchError):
    """Several places of a store have this name."""


class DatasetError(UserError):
    """A tile dataset is missing, damaged or made by another run."""


class PointsError(UserError):
    """A file of points cannot be read; the message names the row."""


class FingerprintError(UserError):
    """Two things were made with different catalogues or tile geometries."""


class PlaceError(UserError):
    """A latitude or longitude is out of range, not finite, or swapped."""


class OutsideError(UserError):
    """A place lies outside the area that a store covers."""


class WriteError(Loc2VecError):
    """A file could not be written; the one before it is untouched."""


class WorkerError(Loc2VecError):
    """A worker process was killed."""


class KilledError(WorkerError):
    """Worker process after worker process was killed from outside, as a system without memory does.

    Not by a fault of its own, such as a segmentation fault.
    """


class DamagedError(Loc2VecError):
    """A dataset does not hold the bytes that were written."""


class StoppedError(Loc2VecError):
    """The user stopped a job that can be resumed.

    A command ends with status 130, the shells' status for Ctrl-C.
    """

    exit_status = 130


class GridError(UserError):
    """A grid or its box is malformed, holds no place, or holds too many."""


class Terminated(KeyboardInterrupt):
    """SIGTERM ends the command: it cleans up as for Ctrl-C."""
