"""API keys and rates, checked by a dependency of the routes: no spelling of a path avoids it."""

import hashlib
import hmac
import ipaddress
import math
from functools import lru_cache
from typing import NoReturn

from fastapi import Request
from limits import RateLimitItem, parse
from starlette.exceptions import HTTPException

from service.http.rates import Rate
from service.observe.metrics import REFUSED
from service.settings import Settings

BEARER = "bearer "


class Access:
    """The keys and rates of one process; keys are kept and compared as SHA-256."""

    def __init__(self, settings: Settings) -> None:
        self._keys = [key.encode() for key in settings.api_keys]
        self._per_key, self._per_address = (
            Rate(parse(rate)) if rate else None
            for rate in (settings.rate_per_key, settings.rate_per_address)
        )

    def admit(self, request: Request) -> str:
        """Return who asks, or raise 401 or 429; wrong keys count against the address, too."""
        address = _network(request.client.host if request.client else "")
        if self._per_address is not None:
            _count(self._per_address, address)
        if not self._keys:
            return address
        key = self._known(_key(request))
        if key is None:
            REFUSED.labels("key").inc()
            raise HTTPException(
                401,
                "give a valid key: Authorization: Bearer KEY, or X-API-Key",
                {"WWW-Authenticate": "Bearer"},
            )
        if self._per_key is not None:
            _count(self._per_key, key.decode())
        return key.decode()

    def _known(self, key: str) -> bytes | None:
        """Return the hash of a valid key. Every one is compared, in constant time."""
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest().encode()
        same = [known for known in self._keys if hmac.compare_digest(known, digest)]
        return same[0] if same else None


def _count(rate: Rate, client: str) -> None:
    if wait_s := rate.wait_s(client):
        _refuse(wait_s, rate.rate)


def _refuse(wait_s: float, rate: RateLimitItem) -> NoReturn:
    REFUSED.labels("rate").inc()
    seconds = max(1, math.ceil(wait_s))
    raise HTTPException(
        429, f"more than {rate}: try again in {seconds} s", {"Retry-After": str(seconds)}
    )


def _key(request: Request) -> str:
    bearer = request.headers.get("authorization", "")
    if bearer.lower().startswith(BEARER):
        return bearer[len(BEARER) :].strip()
    return request.headers.get("x-api-key", "")


@lru_cache(maxsize=4096)
def _network(host: str) -> str:
    """Return the client's address; of IPv6 the /64, which belongs to one customer."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    return str(ipaddress.ip_network((address, 64 if address.version == 6 else 32), strict=False))
