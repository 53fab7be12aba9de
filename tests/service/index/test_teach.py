import numpy as np
import pytest

from service.errors import LessonError
from service.index.index import NeighborIndex
from service.index.teach import Lesson, Scores
from tests.service.index.test_index import Floats, make_vectors

KINDS = 4


@pytest.fixture(scope="module")
def blobs() -> Floats:
    """4 kinds of 400 places each, whose vectors lie about four corners."""
    rng = np.random.default_rng(0)
    corners = 3 * np.eye(8, dtype=np.float32)[:KINDS]
    return np.repeat(corners, 400, 0) + rng.normal(0, 0.7, (400 * KINDS, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def index(blobs: Floats, tmp_path_factory: pytest.TempPathFactory) -> NeighborIndex:
    with_none = np.concatenate([blobs, np.full((5, 8), np.nan, np.float32)])
    return NeighborIndex.build(make_vectors(with_none), tmp_path_factory.mktemp("t") / "index")


@pytest.mark.parametrize(
    "labels", [["a"], ["a", None], ["a", "b"], ["a", "b", None], ["a", "b", "c", "d"]]
)
def test_probabilities_are_those_of_the_estimator(
    blobs: Floats, index: NeighborIndex, labels: list[str | None]
) -> None:
    rows = np.arange(len(labels)) * 400
    lesson = Lesson.of(blobs[rows], labels, index)
    kinds = [label for label in labels if label]
    expected = lesson.estimator.predict_proba(blobs)[:, : len(kinds)]
    np.testing.assert_allclose(lesson.probabilities(blobs), expected, atol=1e-5)
    for row, label in zip(rows.tolist(), labels, strict=True):
        own = lesson.probabilities(blobs[row : row + 1])[0]
        assert (kinds[own.argmax()] == label) if label else own.max() < 0.5


def test_few_examples_find_the_rest_of_their_kind(blobs: Floats, index: NeighborIndex) -> None:
    scores = Scores.of(Lesson.of(blobs[:3], ["a"] * 3, index), index, "")
    every = np.ones(len(index.lat), np.bool_)
    assert np.mean(np.array(scores.best(index, 0, 100, every, 0)) < 400) > 0.85
    assert scores.probability[-5:].max() == 0, "places without a vector"
    doubtful = scores.asked(index, 10, every, 0)
    assert np.abs(scores.probability[doubtful] - 0.5).max() < 0.1
    some = np.arange(len(index.lat)) >= 400
    assert min(scores.best(index, 0, 10, some, 0)) >= 400
    assert scores.best(index, 0, 10, np.zeros_like(some), 0) == []


def test_all_are_found_where_the_first_do_not_suffice(
    blobs: Floats, index: NeighborIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = Scores.of(Lesson.of(blobs[:3], ["a"] * 3, index), index, "")
    every = np.ones(len(index.lat), np.bool_)
    whole = scores.best(index, 0, 12, every, 8000)
    monkeypatch.setattr("service.index.teach.FIRST", 5)
    assert scores.best(index, 0, 12, every, 8000) == whole
    assert len(whole) == 12


def test_examples_of_nothing_teach_nothing(blobs: Floats, index: NeighborIndex) -> None:
    with pytest.raises(LessonError, match="no example has a label"):
        Lesson.of(blobs[:2], [None, None], index)


def test_colours_tell_likeness_and_kinds(blobs: Floats, index: NeighborIndex) -> None:
    one = Scores.of(Lesson.of(blobs[:3], ["a"] * 3, index), index, "")
    assert len(np.unique(one.colours, axis=0)) > 50
    rows = np.arange(KINDS) * 400
    several = Scores.of(Lesson.of(blobs[rows], list("abcd"), index), index, "")
    means = [several.colours[400 * n : 400 * (n + 1)].mean(0) for n in range(KINDS)]
    apart = np.linalg.norm(np.array(means)[:, None] - np.array(means), axis=2)
    assert apart[np.triu_indices(KINDS, 1)].min() > 10
