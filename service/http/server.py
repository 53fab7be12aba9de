"""Listening on an address and serving the application there.

With several workers the parent of them stays small: it loads neither the network nor the index.
"""

import contextlib
import logging
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.supervisors import Multiprocess

from service.errors import AddressError
from service.http.connections import BACKLOG, Connection, use_all_files
from service.observe.logs import log_config
from service.observe.metrics import SHARED
from service.observe.tracing import require_tracing
from service.settings import Settings
from tiling.errors import Terminated
from tiling.render.pool import Worker, end_with_parent

if TYPE_CHECKING:
    from fastapi import FastAPI

    from service.engine.engine import Engine

START_S = 120.0  # for a process to load its model and index
CLOSE_S = 2.0  # for a process to close what it has open, once the answers are given
PULSE_S = 3  # a worker that shows no sign of life for so long is replaced

log = logging.getLogger(__name__)


def bind(host: str, port: int) -> socket.socket:
    """Bind the address, so that a busy port shows before any work.

    The socket does not listen yet: until the service is ready, clients are refused at once. Raises
    `AddressError` when the address cannot be bound.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise AddressError(f"cannot listen on {host}: {error.strerror}") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise AddressError(
            f"cannot listen on {host} port {port} ({error.strerror}): choose another --port"
        ) from error
    return bound


def url_of(bound: socket.socket) -> str:
    """Return the URL of the service on a bound socket."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if bound.family == socket.AF_INET6 else f"http://{host}:{port}"


def serve(settings: Settings, bound: socket.socket, ready: Callable[[], None]) -> None:
    """Serve until a signal; `ready` is called when the service answers.

    Raises the error of a missing or damaged part before the socket listens.
    """
    if settings.tracing:
        require_tracing()
    use_all_files()
    if settings.workers == 1:
        _serve_here(settings, bound, ready)
        return
    _try_out(settings)
    with tempfile.TemporaryDirectory(prefix="loc2vec-metrics-") as shared:
        os.environ[SHARED] = shared  # for the processes that follow
        try:
            _Supervisor(_config(settings, _open_in_worker), [bound], ready).run()
        finally:
            del os.environ[SHARED]


def _serve_here(settings: Settings, bound: socket.socket, ready: Callable[[], None]) -> None:
    from service.engine.engine import Engine

    opened: list[Engine] = []
    config = _config(settings, lambda _: opened[0])  # configures the log, which opening may need
    opened.append(Engine.open(settings))
    try:
        _Server(config, ready).run(sockets=[bound])
    except Terminated:
        raise
    except KeyboardInterrupt:  # Ctrl-C is how a service is ended
        log.info("stopped")


def _try_out(settings: Settings) -> None:
    """Open everything once in another process, or raise the error that it had."""
    trial: Worker[None, None] = Worker(partial(_trial, settings))
    with contextlib.closing(trial):
        trial.ask(None)


@contextlib.contextmanager
def _trial(settings: Settings) -> Iterator[Callable[[None], None]]:
    from service.engine.engine import Engine

    with Engine.open(settings.model_copy(update={"render_processes": 0})):
        yield lambda _: None


def _open_in_worker(settings: Settings) -> "Engine":
    """Open the engine of a worker, which ends when its parent is killed."""
    from service.engine.engine import Engine

    threading.Thread(target=end_with_parent, daemon=True).start()
    return Engine.open(settings)


def _app(
    settings: Settings, opener: Callable[[Settings], "AbstractContextManager[Engine]"]
) -> "FastAPI":
    from service.http.app import create_app

    return create_app(settings, opener)


def _config(
    settings: Settings, opener: Callable[[Settings], "AbstractContextManager[Engine]"]
) -> uvicorn.Config:
    return uvicorn.Config(
        partial(_app, settings, opener),
        factory=True,
        workers=settings.workers,
        log_config=log_config(settings.log_format),
        access_log=False,  # `service.http.middleware` writes it
        server_header=False,
        # No proxy is believed unless the operator names it: else anybody may claim any address.
        forwarded_allow_ips=os.environ.get("FORWARDED_ALLOW_IPS", ""),
        timeout_graceful_shutdown=settings.drain_s,
        timeout_worker_healthcheck=PULSE_S,
        http=Connection,
        backlog=BACKLOG,
    )


class _Server(uvicorn.Server):
    """One process."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self.should_exit:
            _end_within((self.config.timeout_graceful_shutdown or 0) + CLOSE_S, os._exit, 1)
        super().handle_exit(sig, frame)


def _end_within(seconds: float, end: Callable[..., object], *arguments: Any) -> None:
    """End this process when it has not ended after so long, whatever hangs in it."""

    def wait() -> None:
        time.sleep(seconds)
        log.error("the service did not stop within %.0f s: it is cut off", seconds)
        end(*arguments)

    threading.Thread(target=wait, daemon=True).start()


class _Supervisor(Multiprocess):
    """Several processes on one socket; one that dies is started again."""

    def __init__(
        self, config: uvicorn.Config, sockets: list[socket.socket], ready: Callable[[], None]
    ) -> None:
        super().__init__(config, sockets)
        self._ready = ready
        for number in (signal.SIGINT, signal.SIGTERM):  # heard while the workers start, too
            signal.signal(number, self._stop)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if not self.should_exit.is_set():
            _end_within((self.config.timeout_graceful_shutdown or 0) + CLOSE_S, self._cut_off)
        self.should_exit.set()

    def _cut_off(self) -> None:
        for process in self.processes:
            process.process.kill()
        os._exit(1)

    def init_processes(self) -> None:
        super().init_processes()
        if all(process.wait_until_ready(START_S, self.should_exit) for process in self.processes):
            self._ready()
