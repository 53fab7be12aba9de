"""Errors of the whole system grow from the two classes here.

Each package adds its own short subclasses.
"""

from collections.abc import Sequence
from typing import Any


class Loc2VecError(Exception):
    """Something failed; the message is one line that says what, and what to do."""

    exit_status = 1


class UserError(Loc2VecError):
    """The input is at fault, not the machine: a command ends with status 2."""

    exit_status = 2


class ExtractError(UserError):
    """An OSM extract cannot be read."""


class CatalogueError(UserError):
    """The channel catalogue breaks its own rules."""


class StoreError(UserError):
    """A feature store is missing, damaged or not one of ours."""


class StoreUnavailableError(Loc2VecError):
    """The database of a feature store does not answer, for now."""


class StoreReplacedError(Loc2VecError):
    """A store is not the one any more that was opened."""


class ReplicationError(Loc2VecError):
    """A replication server does not answer, or does not have the changes that are asked for."""


class NameSearchError(UserError):
    """A name does not say which place is meant.

    `candidates` (`tiling.osm.names.NamedPlace`) may be.
    """

    def __init__(self, message: str, candidates: Sequence[Any]) -> None:
        super().__init__(message)
        self.candidates = candidates


class UnknownNameError(NameSearchError):
    """No place of a store has a name; the candidates have one like it."""


class AmbiguousNameError(NameSearchError):
    """Several places of a store have a name."""


class DatasetError(UserError):
    """A tile dataset is missing, damaged or made by another run."""


class PointsError(UserError):
    """A file of points cannot be read; the message names the row."""


class FingerprintError(UserError):
    """Two things made with different catalogues or tile geometries met."""


class PlaceError(UserError):
    """A latitude or longitude is out of range, not finite, or swapped."""


class OutsideError(UserError):
    """A place lies outside the area that a store covers."""


class WriteError(Loc2VecError):
    """A file could not be written; what stood there before is untouched."""


class WorkerError(Loc2VecError):
    """A worker process was lost."""


class DamagedError(Loc2VecError):
    """A dataset holds other bytes than those that were made."""


class StoppedError(Loc2VecError):
    """The user stopped a job that can go on.

    A command ends with status 130, as shells have it for Ctrl-C.
    """

    exit_status = 130


class GridError(UserError):
    """A grid or its box makes no sense, holds no place, or holds too many."""
