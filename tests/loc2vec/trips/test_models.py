"""The classifiers of trips: positions, padding, order, seeds, and how they are fitted."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from loc2vec.trips.models import READERS, WIDTH, Reader, positions
from loc2vec.trips.trip import Sequences

SHORT = "loc2vec.trips.models.EPOCHS"  # patched where nothing need be learned
each_reader = pytest.mark.parametrize("kind", READERS)


@pytest.mark.parametrize("count", [1, 2, 7, 200])
def test_positions_are_those_of_the_paper(count: int) -> None:
    """Vaswani et al., 3.5: PE(p, 2i) = sin(p / 10000^(2i/d)), PE(p, 2i+1) = cos of the same."""
    found = positions(count)
    assert found.shape == (count, WIDTH)
    for place in range(count):
        for pair in range(WIDTH // 2):
            angle = place / 10_000 ** (2 * pair / WIDTH)
            assert found[place, 2 * pair] == pytest.approx(math.sin(angle), abs=1e-4)
            assert found[place, 2 * pair + 1] == pytest.approx(math.cos(angle), abs=1e-4)


def test_no_two_positions_are_equal_and_each_has_the_same_length() -> None:
    found = positions(100)
    assert torch.pdist(found).min() > 0.5
    torch.testing.assert_close(found.square().sum(1), torch.full((100,), WIDTH / 2))


@each_reader
def test_a_trip_is_read_alone_whatever_stands_beside_it(kind: str) -> None:
    torch.manual_seed(1)
    model = READERS[kind](3, 4).eval()
    vectors, lengths = torch.randn(6, 9, 3), torch.tensor([9, 1, 4, 2, 9, 5])
    with torch.inference_mode():
        together = model(vectors, lengths)
        for row, length in enumerate(lengths.tolist()):
            alone = model(vectors[row : row + 1, :length], lengths[row : row + 1])
            torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=1e-4)
    assert together.shape == (6, 4)


@each_reader
def test_the_order_of_trips_in_a_batch_does_not_matter(kind: str) -> None:
    torch.manual_seed(1)
    model = READERS[kind](3, 4).eval()
    vectors, lengths = torch.randn(6, 9, 3), torch.tensor([9, 1, 4, 2, 9, 5])
    order = torch.tensor([3, 5, 0, 4, 2, 1])
    with torch.inference_mode():
        turned = model(vectors[order], lengths[order])
        torch.testing.assert_close(turned, model(vectors, lengths)[order], atol=1e-5, rtol=1e-4)


@each_reader
def test_the_order_of_the_points_of_a_trip_matters(kind: str) -> None:
    torch.manual_seed(1)
    model = READERS[kind](3, 4).eval()
    vectors, lengths = torch.randn(2, 6, 3), torch.tensor([6, 6])
    with torch.inference_mode():
        there, back = model(vectors, lengths), model(vectors.flip(1), lengths)
    assert (there - back).abs().max() > 1e-3


def separable(count: int, seed: int) -> tuple[Sequences, NDArray[np.int64]]:
    """Trips whose class is the sign of their first number, with lengths of their own."""
    rng = np.random.default_rng(seed)
    target = (np.arange(count) % 2).astype(np.int64)
    vectors = rng.normal(0, 0.3, (count, 5, 2)).astype(np.float32)
    vectors[..., 0] += np.where(target, 1, -1)[:, None]
    return Sequences(vectors, rng.integers(2, 6, count)), target


@each_reader
def test_a_fit_is_the_same_again_and_another_seed_is_another(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SHORT, 3)
    sequences, target = separable(30, 0)
    asked, _ = separable(8, 1)
    one, again, other = (
        Reader(kind, 2, seed).fit_predict(sequences, target, asked) for seed in (0, 0, 1)
    )
    assert np.array_equal(one, again)
    assert not np.allclose(one, other, atol=1e-4)
    assert one.shape == (8, 2)
    assert one.dtype == np.float64


@each_reader
def test_a_fit_leaves_the_random_state_and_the_threads_of_its_caller(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SHORT, 1)
    sequences, target = separable(10, 0)
    torch.manual_seed(5)
    expected = torch.randn(3)
    torch.manual_seed(5)
    threads = torch.get_num_threads()
    Reader(kind, 2, 0).fit_predict(sequences, target, sequences)
    assert torch.equal(torch.randn(3), expected)
    assert torch.get_num_threads() == threads


@each_reader
def test_units_do_not_matter(kind: str) -> None:
    """Vectors are standardised by what was seen: metres or feet give one answer."""
    sequences, target = separable(24, 0)
    asked, truth = separable(20, 1)
    scaled = [Sequences(each.vectors * 1000 + 50, each.lengths) for each in (sequences, asked)]
    first = Reader(kind, 2, 0).fit_predict(sequences, target, asked)
    second = Reader(kind, 2, 0).fit_predict(scaled[0], target, scaled[1])
    np.testing.assert_allclose(first, second, atol=0.02)
    assert (first.argmax(1) == truth).all()


@each_reader
def test_a_rare_class_is_not_drowned(kind: str) -> None:
    """One trip in ten is of class 1; by the mean of the classes' losses it counts as much."""
    rng = np.random.default_rng(0)
    target = (np.arange(60) % 10 == 0).astype(np.int64)
    noise = rng.normal(0, 1, (60, 4, 1)).astype(np.float32)
    sequences = Sequences(noise, np.full(60, 4))
    asked = Sequences(np.zeros((1, 4, 1), np.float32), np.array([4]))
    (answer,) = Reader(kind, 2, 0).fit_predict(sequences, target, asked)
    assert answer[1] > 0.15, "without weights: about a tenth or less"


@each_reader
def test_a_class_that_was_never_seen_is_hardly_expected(kind: str) -> None:
    sequences, target = separable(30, 0)
    answer = Reader(kind, 3, 0).fit_predict(sequences, target, sequences)
    assert answer.shape == (30, 3)
    assert np.isfinite(answer).all()
    assert answer[:, 2].max() < 0.2
    assert (answer.argmax(1) == target).mean() > 0.9


@each_reader
def test_numbers_that_never_differ_are_no_trouble(kind: str) -> None:
    sequences, target = separable(20, 0)
    constant = np.concatenate([sequences.vectors, np.full((20, 5, 1), 7, np.float32)], axis=2)
    answer = Reader(kind, 2, 0).fit_predict(
        Sequences(constant, sequences.lengths), target, Sequences(constant, sequences.lengths)
    )
    assert np.isfinite(answer).all()
    assert (answer.argmax(1) == target).all()
