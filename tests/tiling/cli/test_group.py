"""How a command ends when a library fails for lack of memory."""

import click
import pytest
from click.testing import CliRunner

from tiling.cli.group import CommandGroup


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        ImportError("libtorch.so: failed to map segment from shared object"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory:\nyou tried to allocate 8 bytes"),
    ],
)
def test_a_lack_of_memory_is_said_in_one_line(error: Exception) -> None:
    @click.command()
    def hungry() -> None:
        raise error

    result = CliRunner().invoke(CommandGroup(commands=[hungry]), ["hungry"])
    assert result.exit_code == 1
    assert result.stderr.startswith("loc2vec: error: there is not enough memory: ")
    assert result.stderr.count("\n") == 1


def test_other_errors_of_imports_stay_what_they_are() -> None:
    @click.command()
    def broken() -> None:
        raise ImportError("no module named so")

    result = CliRunner().invoke(CommandGroup(commands=[broken]), ["broken"])
    assert isinstance(result.exception, ImportError)
