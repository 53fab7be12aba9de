import shutil
import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests.stack.engine import Stack, docker

TIMES = pytest.StashKey[dict[str, float]]()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The stack, built and up; containers, images, volumes and networks go in the end."""
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    ):
        pytest.fail("no Docker engine answers: the stack test needs one, with Compose v2")
    stack = Stack(_free_port())
    request.config.stash[TIMES] = stack.times
    try:
        with stack.timed("build"):
            stack.compose("build", "--quiet")
        with stack.timed("first up, to ready"):
            stack.compose("up", "--detach", "--wait")
        yield stack
    except BaseException:
        print(stack.compose("logs", "--no-color", "--tail", "40", check=False).stdout)
        raise
    finally:
        stack.compose("down", "--volumes", "--remove-orphans", "--rmi", "all", "--timeout", "20")
        left = docker("ps", "--all", "--quiet", "--filter", "name=loc2vec-stack-test")
        left += docker("volume", "ls", "--quiet", "--filter", "name=loc2vec-stack-test")
        left += docker("images", "--quiet", "--filter", "reference=loc2vec*:stack-test")
        assert not left, f"the stack test left behind: {left}"


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    times = config.stash.get(TIMES, {})
    if times:
        terminalreporter.section("the full stack")
        for step, seconds in times.items():
            terminalreporter.line(f"{seconds:8.1f} s  {step}")
