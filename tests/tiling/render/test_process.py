"""Processes that render for the service."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from loc2vec.embed.batch import Places
from tiling.errors import StoreError, WorkerError
from tiling.render.pool import LOOK_S
from tiling.render.process import PLACES_PER_ORDER, RenderProcess
from tiling.render.thread import RenderThread
from tiling.store.store import Store
from tiling.values import LonLat, Pose


def test_a_process_renders_what_a_thread_renders_also_after_it_was_killed(
    monaco_store: Path, places: Places
) -> None:
    asked = [LonLat(*row) for row in places.lon_lat[:PLACES_PER_ORDER].tolist()]
    pose = Pose(asked[3].lat, asked[3].lon, 30.0, 5.0, -7.0)
    thread, process = RenderThread(Store.at(monaco_store)), RenderProcess(Store.at(monaco_store))
    expected, tile = thread.render(asked), thread.tile(pose)
    for _ in range(2):
        assert (process.render(asked) == expected).all()
        assert (process.tile(pose).pixels == tile.pixels).all()
        assert process.tile(pose).channels == tile.channels
        for child in multiprocessing.active_children():
            assert child.pid is not None
            os.kill(child.pid, signal.SIGKILL)
    thread.close()
    process.close()
    assert not multiprocessing.active_children()


def test_an_error_of_the_store_comes_out_here_and_the_process_goes_on(own_store: Path) -> None:
    process = RenderProcess(Store.at(own_store))
    pose = Pose(43.7384, 7.4246)
    before = process.tile(pose).pixels
    with pytest.raises(AttributeError):
        process.tile(None)  # type: ignore[arg-type]
    assert (process.tile(pose).pixels == before).all()
    process.close()
    own_store.unlink()
    with pytest.raises(StoreError, match=r"own\.gpkg"):
        RenderProcess(Store.at(own_store))


def test_a_program_that_does_not_close_it_ends(monaco_store: Path, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "from tiling.render.process import RenderProcess\n"
        "from tiling.store.store import Store\n"
        "if __name__ == '__main__':\n"
        f"    process = RenderProcess(Store.at({str(monaco_store)!r}))\n"
        "    print(process._worker.process.pid)\n"
    )
    ended = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, timeout=60, check=True
    )
    with pytest.raises(ProcessLookupError):
        os.kill(int(ended.stdout), 0)


def test_signals_are_for_the_main_process_to_answer(monaco_store: Path) -> None:
    process = RenderProcess(Store.at(monaco_store))
    (child,) = multiprocessing.active_children()
    assert child.pid is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(child.pid, number)
    time.sleep(0.1)
    assert process.tile(Pose(43.7384, 7.4246)).pixels.any()
    assert multiprocessing.active_children() == [child]
    process.close()


def test_a_process_that_hangs_is_replaced(
    monaco_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tiling.render.process.ORDER_S", 0.5)
    process, pose = RenderProcess(Store.at(monaco_store)), Pose(43.7384, 7.4246)
    before = process.tile(pose).pixels
    (child,) = multiprocessing.active_children()
    assert child.pid is not None
    os.kill(child.pid, signal.SIGSTOP)
    with pytest.raises(WorkerError, match="did not answer"):
        process.tile(pose)
    monkeypatch.undo()
    process._worker._patience_s = 60.0
    assert (process.tile(pose).pixels == before).all()
    assert multiprocessing.active_children() != [child]
    process.close()


def test_a_process_that_is_killed_while_it_starts_is_started_again(monaco_store: Path) -> None:
    process, pose = RenderProcess(Store.at(monaco_store)), Pose(43.7384, 7.4246)
    before = process.tile(pose).pixels
    killing = threading.Thread(target=_kill_twice, args=(process,))
    killing.start()
    assert (process.tile(pose).pixels == before).all()
    killing.join()
    assert (process.tile(pose).pixels == before).all()
    process.close()


def _kill_twice(process: RenderProcess) -> None:
    for _ in range(2):
        process._worker.process.kill()
        time.sleep(0.3)


def test_a_process_is_ended_under_the_thread_that_waits_for_it(monaco_store: Path) -> None:
    process = RenderProcess(Store.at(monaco_store))
    threading.Timer(0.3, process.end).start()
    with pytest.raises(WorkerError, match="is being ended"):
        process.ask(_sleep)
    process.close()
    assert not multiprocessing.active_children()


def _sleep(renderer: object) -> None:
    time.sleep(60)


@pytest.mark.parametrize(("patience_s", "task"), [(0.5, "spin"), (1.0, "work and stop")])
def test_a_process_that_never_comes_to_an_end_is_replaced(
    monaco_store: Path, monkeypatch: pytest.MonkeyPatch, patience_s: float, task: str
) -> None:
    monkeypatch.setattr("tiling.render.process.ORDER_S", patience_s)
    process = RenderProcess(Store.at(monaco_store))
    with pytest.raises(WorkerError, match="did not answer"):
        process.ask({"spin": _spin, "work and stop": _work_and_stop}[task])
    process.close()


def _spin(renderer: object) -> None:
    while True:
        pass


def _work_and_stop(renderer: object) -> None:
    for _ in range(14):  # 3.5 s: two looks
        time.sleep(0.23)
        _compute(0.02)
    time.sleep(60)


def test_a_process_that_gets_little_cpu_is_waited_for(monaco_store: Path) -> None:
    process = RenderProcess(Store.at(monaco_store))
    assert process.ask(_done) == "done"  # it has imported this module
    process._worker._patience_s = 1.5
    assert process.ask(_crawl) == "done"
    process.close()


def test_an_answer_that_nobody_had_time_to_receive_is_no_hang(monaco_store: Path) -> None:
    process = RenderProcess(Store.at(monaco_store))
    pid = process._worker.process.pid
    assert process.ask(_done) == "done"
    process._worker._patience_s = 0.2
    process._worker.give(_done)
    time.sleep(5 * LOOK_S)
    answer = process._worker.receive()
    assert answer is not None
    assert answer.value == "done"
    assert process.ask(_done) == "done"
    assert process._worker.process.pid == pid
    process.close()


def _done(renderer: object) -> str:
    return "done"


def _crawl(renderer: object) -> str:
    for _ in range(20):  # 5 s, little of them at work
        time.sleep(0.23)
        _compute(0.02)
    return "done"


def _compute(cpu_s: float) -> None:
    end_s = time.process_time() + cpu_s
    while time.process_time() < end_s:
        pass
