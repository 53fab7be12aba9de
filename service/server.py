"""Listening on an address and serving the application there."""

import copy
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.config import LOGGING_CONFIG

from service.app import create_app
from service.engine import Engine
from service.errors import AddressError


def bind(host: str, port: int) -> socket.socket:
    """Take the address, so that a busy port shows before any work; `AddressError` when it cannot be had.

    The socket does not listen yet: until the service is ready a client is refused, not left waiting.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise AddressError(f"cannot listen on {host}: {error.strerror}") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise AddressError(f"cannot listen on {host} port {port} ({error.strerror}): choose another --port") from error
    return bound


def url_of(bound: socket.socket) -> str:
    """Return the URL of the service on a bound socket."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if bound.family == socket.AF_INET6 else f"http://{host}:{port}"


def serve(engine: Engine, bound: socket.socket, ready: Callable[[], None]) -> None:
    """Serve until a signal ends it, and close the engine; `ready` is called when requests are answered."""
    config = uvicorn.Config(create_app(lambda: engine), log_config=_log_config())
    _Server(config, ready).run(sockets=[bound])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()


def _log_config() -> dict[str, Any]:
    """Return uvicorn's logging, all of it on standard error, with the logs of our packages."""
    config = copy.deepcopy(LOGGING_CONFIG)
    config["handlers"]["access"]["stream"] = "ext://sys.stderr"
    for package in ("tiling", "loc2vec", "service"):
        config["loggers"][package] = {"handlers": ["default"], "level": "INFO"}
    return config
