"""The book of items of a Ray cluster: what is out, what is done, what was lost too often."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiling.dataset.executors import InProcess
from tiling.dataset.ray import _Waiting
from tiling.errors import WorkerError
from tiling.render.pool import MAX_LOSSES

LOST = RuntimeError("the node died")


def test_items_are_given_out_in_their_order_and_so_many_at_a_time() -> None:
    waiting = _Waiting("abcde")
    assert list(waiting.take(2)) == [(0, "a"), (1, "b")]
    assert list(waiting.take(2)) == []
    assert list(waiting.take(3)) == [(2, "c")]
    waiting.done(1)
    assert len(waiting) == 4
    assert list(waiting.take(4)) == [(3, "d"), (4, "e")]


def test_the_end_is_when_all_are_done() -> None:
    waiting = _Waiting("ab")
    assert waiting
    for number, _ in list(waiting.take(9)):
        waiting.done(number)
    assert not waiting
    assert list(waiting.take(9)) == []
    assert not _Waiting([])


def test_what_was_lost_is_given_out_again_before_the_rest() -> None:
    waiting = _Waiting("abcdef")
    assert [item for _, item in waiting.take(3)] == ["a", "b", "c"]
    waiting.done(0)
    waiting.lost(1, LOST)
    assert [item for _, item in waiting.take(3)] == ["b", "d"]
    assert len(waiting) == 5


def test_an_item_is_lost_so_often_and_no_more_and_each_for_itself() -> None:
    waiting = _Waiting("ab")
    list(waiting.take(2))
    for number in (0, 1) * MAX_LOSSES:
        waiting.lost(number, LOST)
        assert dict(waiting.take(2)) == {number: "ab"[number]}
    with pytest.raises(WorkerError, match="was killed 4 times over the same work") as error:
        waiting.lost(1, LOST)
    assert error.value.__cause__ is LOST


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 20), st.lists(st.integers(0, 2), max_size=60), st.integers(1, 5))
def test_every_item_is_done_once_whatever_is_lost(
    count: int, events: list[int], at_a_time: int
) -> None:
    waiting = _Waiting(range(count))
    done: list[int] = []
    out: dict[int, int] = {}
    losses = 0
    for event in [*events, *[2] * count]:
        out |= dict(waiting.take(at_a_time))
        assert len(out) == min(at_a_time, len(waiting))
        if event == 0 and losses < MAX_LOSSES and out:
            losses += 1
            number = max(out)
            waiting.lost(number, LOST)
            assert out.pop(number) == number
        elif out:
            number = min(out)
            done.append(out.pop(number))
            waiting.done(number)
    assert sorted(done) == list(range(count))
    assert not waiting


def test_in_this_process_items_are_done_one_after_the_other() -> None:
    executor = InProcess()
    assert list(executor.run(str, [1, 2, 3])) == ["1", "2", "3"]
    assert executor.retried == 0
    results = executor.run(lambda item: 1 // item, [1, 0])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
