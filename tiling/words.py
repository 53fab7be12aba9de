"""Numbers of things in words for people."""


def counted(number: int, thing: str) -> str:
    """Return a number with its thing, which takes an s unless there is one.

    >>> counted(1, "place"), counted(1200, "place")
    ('1 place', '1,200 places')
    """
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"
