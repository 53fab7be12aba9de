"""Listening on an address and serving the application there."""

import os
import socket
import tempfile
from collections.abc import Callable
from functools import partial

import uvicorn
from uvicorn.supervisors import Multiprocess

from service.engine.engine import Engine
from service.errors import AddressError
from service.http.app import create_app
from service.observe.logs import log_config
from service.observe.metrics import SHARED
from service.observe.tracing import require_tracing
from service.settings import Settings

START_S = 120.0  # for a process to load its model and index


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
    engine = Engine.open(settings)
    if settings.workers == 1:
        _Server(_config(settings, lambda _: engine), ready).run(sockets=[bound])
        return
    engine.close()
    with tempfile.TemporaryDirectory(prefix="loc2vec-metrics-") as shared:
        os.environ[SHARED] = shared  # for the processes that follow
        try:
            _Supervisor(_config(settings, Engine.open), [bound], ready).run()
        finally:
            del os.environ[SHARED]


def _config(settings: Settings, opener: Callable[[Settings], Engine]) -> uvicorn.Config:
    return uvicorn.Config(
        partial(create_app, settings, opener),
        factory=True,
        workers=settings.workers,
        log_config=log_config(settings.log_format),
        access_log=False,  # `service.http.middleware` writes it
        server_header=False,
        # No proxy is believed unless the operator names it: else anybody may claim any address.
        forwarded_allow_ips=os.environ.get("FORWARDED_ALLOW_IPS", ""),
        timeout_graceful_shutdown=settings.drain_s,
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


class _Supervisor(Multiprocess):
    """Several processes on one socket; one that dies is started again."""

    def __init__(
        self, config: uvicorn.Config, sockets: list[socket.socket], ready: Callable[[], None]
    ) -> None:
        super().__init__(config, sockets)
        self._ready = ready

    def init_processes(self) -> None:
        super().init_processes()
        if all(process.wait_until_ready(START_S, self.should_exit) for process in self.processes):
            self._ready()
