import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from loc2vec.errors import RunError
from loc2vec.evaluation.baselines import channel_means
from loc2vec.train.board import TensorBoard
from loc2vec.train.loop import train
from loc2vec.train.run import Run, TrainConfig
from loc2vec.train.run_page import table, write_report
from loc2vec.train.runlog import read_log
from loc2vec.train.triplets import hardest, picture, sample
from tests.browser import count_colours, launched, pixels, watched
from tests.loc2vec.memory import MemoryDataset

NAME = "<x-ss onload='y'>$&{{ 7 * 7 }}"  # of a run: markup, which stays text on its page
SMALL = TrainConfig(encoder="tiny", places=4, pairs=2, steps=6, warm_up=2, eval_every=3)


@pytest.fixture(autouse=True)
def small_runs(monkeypatch: pytest.MonkeyPatch, tiny: str) -> None:
    monkeypatch.setattr("loc2vec.train.loop.LOG_EVERY", 2)


def test_the_hardest_triplets_are_those_nearest_to_another_place(
    make_dataset: type[MemoryDataset],
) -> None:
    data = make_dataset()
    # on a line: place 3 with its positive beyond place 5, all others far apart
    vectors: dict[bytes, int] = {}

    def encode(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.array([[vectors[tile.tobytes()]] for tile in tiles], np.float32)

    for place in range(data.n_places):
        for slot in range(data.positives + 1):
            vectors[data.tile(place, slot).tobytes()] = 100 * place + slot
    for slot in range(1, data.positives + 1):
        vectors[data.tile(3, slot).tobytes()] = 530
    seen = sample(encode, data, limit=8)
    assert sorted(seen.places.tolist()) == list(range(8))
    worst, second = hardest(seen, data, 2)
    assert (worst.positive_distance, worst.negative_distance) == (230, 30)
    assert np.array_equal(worst.anchor, data.tile(3, 0))
    assert np.array_equal(worst.negative, data.tile(5, 0))
    assert second.positive_distance - second.negative_distance < 0
    assert picture([worst, second]).shape == (2 * 132, 3 * 132, 3)


def test_a_sample_has_no_places_near_each_other(make_dataset: type[MemoryDataset]) -> None:
    places = sample(channel_means, make_dataset(spacing_m=100.0), limit=8).places
    assert len(places) > 1
    assert (np.diff(np.sort(places)) >= 3).all()


def look_at(path: Path) -> None:
    """Each chart has a line in a colour, and each tile is seen, also on a phone in the dark."""
    with launched() as browser:
        page = browser.new_page(viewport={"width": 360, "height": 640}, color_scheme="dark")
        wrong = watched(page)
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        for chart in page.locator(".chart").all():
            seen = pixels(chart).astype(int)
            assert (np.ptp(seen, axis=2) > 60).any(), "a line in a colour"
        for tile in page.locator("img").all():
            assert count_colours(pixels(tile)) > 1
        assert wrong == []


def test_the_page_tells_how_the_run_went_and_needs_nothing_else(
    tmp_path: Path, make_dataset: type[MemoryDataset]
) -> None:
    train(Run(SMALL, make_dataset(), tmp_path / NAME, make_dataset(seed=1)), "cpu")
    scores = write_report(tmp_path / NAME, make_dataset(seed=1), validated=True, device="cpu")
    page = (tmp_path / NAME / "report.html").read_text()
    assert list(scores) == [NAME, "untrained tiny", "channel means", "16 pixel components"]
    for row in scores.values():
        assert f"{row['recall@1']:.3f}" in page
    assert not re.findall(r"(?:src|href)=\"(?!data:)|https?://", page)  # self-contained
    assert page.count("data:image/png") == 3 * 8
    assert page.count("<svg") == 9 + 1 + 16  # curves, spread, dimensions
    assert "OpenStreetMap" in page
    assert "<x-ss" not in page
    assert "&lt;x-ss" in page
    look_at(tmp_path / NAME / "report.html")
    assert "validation dataset" in page
    assert "nan" not in page.lower().replace("nan>", "")
    best = max(
        line["recall@1"] for line in read_log(tmp_path / NAME / "log.jsonl") if "recall@1" in line
    )
    # one of eight places, by bfloat16
    assert scores[NAME]["recall@1"] == pytest.approx(best, abs=0.13)
    assert f"{scores[NAME]['mrr']:.3f}" in table(scores)


def test_a_run_without_validation_says_so(
    tmp_path: Path, make_dataset: type[MemoryDataset]
) -> None:
    train(Run(SMALL, make_dataset(), tmp_path / "run"), "cpu")
    write_report(tmp_path / "run", make_dataset(), validated=False, device="cpu")
    assert "were trained on" in (tmp_path / "run" / "report.html").read_text()


def events(folder: Path) -> Any:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(folder))
    return found.Reload()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_shows_scalars_histograms_and_pictures(
    tmp_path: Path, make_dataset: type[MemoryDataset]
) -> None:
    run = Run(SMALL, make_dataset(), tmp_path / "run", make_dataset(seed=1))
    train(run, "cpu", board=TensorBoard(tmp_path / "board"))
    seen = events(tmp_path / "board")
    tags = seen.Tags()
    for name in (
        "loss",
        "positive_distance",
        "nearest_negative_distance",
        "easy_share",
        "tiles_per_s",
        "data_wait",
    ):
        assert f"training/{name}" in tags["scalars"]
    assert [event.step for event in seen.Scalars("validation/recall_at_1")] == [0, 3, 6]
    losses = [
        (line["step"], line["loss"])
        for line in read_log(tmp_path / "run" / "log.jsonl")
        if "loss" in line
    ]
    shown = [(event.step, event.value) for event in seen.Scalars("training/loss")]
    assert shown == pytest.approx(np.array(losses))
    assert len(tags["histograms"]) == 16
    (image,) = {event.width for event in seen.Images("hard triplets")}
    assert image == 3 * 132


def test_a_missing_tensorboard_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard.writer", None)
    with pytest.raises(RunError, match=r"loc2vec\[tensorboard\]"):
        TensorBoard(tmp_path)
