"""Errors of the service; the two bases are in `tiling.errors`."""

from tiling.errors import Loc2VecError, UserError

STOPPING = "the service is stopping: ask it again when it is back"


class SearchIndexError(UserError):
    """An index folder is missing, damaged or made with another model."""


class NoIndexError(UserError):
    """Neighbours were asked for, and no index is loaded."""


class AddressError(UserError):
    """The host and port cannot be listened on."""


class FilesError(UserError):
    """Too few files may be open at once."""


class RegionError(UserError):
    """A region was named that the store does not hold."""


class ColumnError(UserError):
    """A column was named that the index does not have."""


class FilterError(UserError):
    """A filter that cannot be read, or does not fit the columns of the index."""


class LessonError(UserError):
    """Examples that nothing can be learned from."""


class ScaleError(UserError):
    """A scale was asked for that the tiles of the model do not have."""


class BusyError(Loc2VecError):
    """The queue is full; it is worth asking again in a moment."""


class SlowError(Loc2VecError):
    """An answer took longer than the service allows itself."""


class GoneError(Loc2VecError):
    """The client closed its connection before its answer was there."""


class CostError(UserError):
    """A question costs more than one request may."""


class SettingsError(UserError):
    """A setting is unknown, missing or makes no sense."""
