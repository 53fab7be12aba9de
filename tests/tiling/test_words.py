"""Numbers of things in words, and wrong numbers on the command line."""

import pytest
from click.testing import CliRunner

from service.cli.main import main
from tiling.cli.progress import progress_bar
from tiling.words import counted


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 places"), (1, "1 place"), (2, "2 places"), (1200, "1,200 places")]
)
def test_one_thing_has_no_s(number: int, words: str) -> None:
    assert counted(number, "place") == words


@pytest.mark.parametrize("total", [None, 100])
def test_a_slow_bar_still_counts_things_a_second(
    total: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress_bar("render", "tiles", total) as bar:
        bar.start_t -= 60
        bar.update(3)
        bar.refresh()
    told = capsys.readouterr().err
    assert "0.05 tiles/s" in told
    assert "s/ tiles" not in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("embed", "--grid", "abc"), "'abc' is not a valid number"),
        (("tile", "--positives", "2.5"), "'2.5' is not a valid whole number"),
        (("train", "--steps", "many"), "'many' is not a valid whole number"),
        (("evaluate", "--seeds", "x"), "'x' is not a valid whole number"),
    ],
)
def test_what_is_no_number_is_called_so(arguments: tuple[str, ...], message: str) -> None:
    result = CliRunner().invoke(main, [*arguments])
    assert result.exit_code == 2
    assert message in result.stderr
