"""Words for people: numbers of things, and what other libraries say."""

from collections.abc import Sequence


def counted(number: int, thing: str) -> str:
    """Return a number with its thing, which takes an s unless there is one.

    >>> counted(1, "place"), counted(1200, "place")
    ('1 place', '1,200 places')
    """
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def quoted(names: Sequence[str]) -> str:
    """Return the names of columns or layers for people: on one line, not too many, none too long.

    >>> quoted(["lat", "my\\nlon"])
    "'lat', 'my\\\\nlon'"
    """
    return ", ".join(f"{name!r:.60}" for name in names[:20])


def in_one_line(error: BaseException) -> str:
    """Return what an error says, without its line breaks.

    >>> in_one_line(ValueError("no footer\\n  in the file"))
    'no footer in the file'
    """
    return " ".join(str(error).split())
