from collections.abc import Iterator

import pytest

from tests.probes import quick_probes


@pytest.fixture(autouse=True, scope="package")
def quick() -> Iterator[None]:
    with quick_probes():
        yield
