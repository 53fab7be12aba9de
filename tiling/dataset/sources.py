"""The stores of a job, open for reading."""

from collections.abc import Iterator, Sequence
from typing import Any, Self

from tiling.store.source import FeatureSource
from tiling.store.store import Store


class Sources:
    """The stores of a job by their numbers, each opened once a process when it is first needed.

    It belongs to one thread. A pickle holds the locations of the stores, so that a worker process
    opens them for itself.
    """

    def __init__(self, stores: Sequence[Store]) -> None:
        self._stores = tuple(stores)
        self._open: dict[int, FeatureSource] = {}

    def __getitem__(self, number: int) -> FeatureSource:
        """Return an open store; raises what `Store.open` raises."""
        if number not in self._open:
            self._open[number] = self._stores[number].open()
        return self._open[number]

    def __len__(self) -> int:
        return len(self._stores)

    def __iter__(self) -> Iterator[FeatureSource]:
        return map(self.__getitem__, range(len(self)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        while self._open:
            self._open.popitem()[1].close()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._stores,)
