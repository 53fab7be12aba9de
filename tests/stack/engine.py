"""What the stack test asks of Docker and of the service, and how long each step took."""

import contextlib
import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent.parent
PROJECT = "loc2vec-stack-test"


class Answer(NamedTuple):
    """An answer of the service: 0 is the status of a connection that failed."""

    status: int
    headers: dict[str, str]
    body: Any


@dataclass
class Stack:
    """The compose project of the test, on a port of its own."""

    port: int
    times: dict[str, float] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)

    def compose(
        self, *args: str, check: bool = True, timeout: float = 900
    ) -> subprocess.CompletedProcess[str]:
        """Run `docker compose` on the project; a failure shows what it printed."""
        settings = {"PORT": str(self.port), "TAG": "stack-test", "GRID_M": "100"} | self.settings
        command = ["docker", "compose", "--project-name", PROJECT, *args]
        return docker_run(command, check, timeout, os.environ | settings)

    @contextlib.contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Keep how long a step took."""
        start = time.monotonic()
        yield
        self.times[step] = time.monotonic() - start

    def get(self, path: str, timeout: float = 30) -> Answer:
        """Ask the service; errors of the connection are an answer with status 0."""
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.port}{path}", timeout=timeout
            ) as answer:
                return Answer(answer.status, _lower(answer.headers), json.load(answer))
        except urllib.error.HTTPError as error:
            return Answer(error.code, _lower(error.headers), json.loads(error.read()))
        except OSError as error:
            return Answer(0, {}, str(error))

    def container(self, service: str) -> str:
        """Return the id of a service's container, also of one that has ended."""
        return self.compose("ps", "--all", "--quiet", service).stdout.strip()

    def inspect(self, service: str) -> dict[str, Any]:
        """Return what the engine knows of a service's container."""
        (facts,) = json.loads(docker("inspect", self.container(service)))
        return dict(facts)

    def log_since(self, service: str, moment: str) -> str:
        """Return what a service printed since a moment in RFC 3339."""
        return self.compose(
            "logs", "--no-color", "--no-log-prefix", "--since", moment, service
        ).stdout

    def sql(self, query: str) -> str:
        """Ask the database as its superuser, from inside its container."""
        psql = (
            "psql",
            "--no-psqlrc",
            "--tuples-only",
            "--no-align",
            "--username",
            "postgres",
            "--dbname",
            "loc2vec",
        )
        return self.compose("exec", "-T", "db", *psql, "--command", query).stdout.strip()


def docker(*args: str) -> str:
    """Return what a command of `docker` printed."""
    return docker_run(["docker", *args], True, 300, None).stdout


def docker_run(
    command: list[str], check: bool, timeout: float, env: dict[str, str] | None
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert not check or done.returncode == 0, (
        f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-8000:]}"
    )
    return done


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
