"""Routes: the map page and its files; it makes no third-party requests."""

from importlib import resources
from importlib.resources.abc import Traversable

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from service.http.formats import answer

router = APIRouter(include_in_schema=False)

PAGE = resources.files("service") / "page"
TYPES = {"css": "text/css", "html": "text/html", "js": "text/javascript", "svg": "image/svg+xml"}
# The package django-js-lib-leaflet ships these; it needs no Django.
LEAFLET = ("leaflet.css", "leaflet.js")
# Stricter than elsewhere: no style in the markup either.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def _parts() -> dict[str, Traversable]:
    leaflet = resources.files("js_lib_leaflet") / "static" / "js_lib_leaflet"
    own = {part.name: part for part in PAGE.iterdir() if part.is_file()}
    return own | {name: leaflet / name for name in LEAFLET}


PARTS = _parts()


@router.get("/")
async def page(request: Request) -> Response:
    """Return the page."""
    return _send(request, "index.html")


@router.get("/page/{name}")
async def part(request: Request, name: str) -> Response:
    """Return a part of the page."""
    return _send(request, name)


def _send(request: Request, name: str) -> Response:
    kind = TYPES.get(name.rpartition(".")[2])
    if name not in PARTS or kind is None:
        raise HTTPException(404)
    response = answer(request, PARTS[name].read_bytes(), f"{kind}; charset=utf-8")
    response.headers["Content-Security-Policy"] = POLICY
    # Revalidated by its ETag, so that old and new files never mix.
    response.headers["Cache-Control"] = "no-cache"
    return response
