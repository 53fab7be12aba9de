"""Content negotiation, ETags, and the formats of tables."""

import hashlib
import io
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq
from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

JSON = "application/json"
GEOJSON = "application/geo+json"
ARROW = "application/vnd.apache.arrow.stream"
PARQUET = "application/vnd.apache.parquet"
PNG = "image/png"
MOST_RANGES = 50  # of an `Accept` that are read


def choose(request: Request, offered: Sequence[str]) -> str:
    """Return the offered media type that the client prefers, the first of equals.

    RFC 9110, section 12.5.1: the most specific range that matches a type gives its quality. Raises
    406 when the client accepts none.
    """
    header = request.headers.get("accept", "").strip()
    if not header:
        return offered[0]
    liking = [_range(part) for part in header.lower().split(",", MOST_RANGES)[:MOST_RANGES]]
    best, quality = max(
        ((kind, _quality(kind, liking)) for kind in offered), key=lambda pair: pair[1]
    )
    if quality <= 0:
        raise HTTPException(406, f"this answer comes as {' or '.join(offered)}")
    return best


def _range(part: str) -> tuple[str, float]:
    kind, *parameters = (piece.strip() for piece in part.split(";"))
    quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
    try:
        return kind, min(max(float(quality), 0.0), 1.0)
    except ValueError:
        return kind, 0.0


def _quality(kind: str, liking: Sequence[tuple[str, float]]) -> float:
    for wanted in (kind, kind.partition("/")[0] + "/*", "*/*"):
        for name, quality in liking:
            if name == wanted:
                return quality
    return 0.0


def answer(request: Request, content: BaseModel | bytes, media_type: str = JSON) -> Response:
    """Return an answer that clients may cache, or 304 when the client has it already."""
    body = content if isinstance(content, bytes) else content.model_dump_json().encode()
    # Weak, because the answer may be compressed on its way.
    tag = f'W/"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    headers = {"ETag": tag, "Cache-Control": request.app.state.cache_control, "Vary": "Accept"}
    if request.method == "GET" and _holds(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=304, headers=headers)
    if request.method != "GET":
        headers = {"Cache-Control": "no-store"}
    return Response(body, media_type=media_type, headers=headers)


def _holds(known: str, tag: str) -> bool:
    """Tell whether `If-None-Match` names a tag: weak or strong, because a GET compares weakly.

    RFC 9110, section 13.1.2.
    """
    parts = (part.strip().removeprefix("W/") for part in known.split(","))
    return known.strip() == "*" or tag.removeprefix("W/") in parts


def table_bytes(table: pa.Table, media_type: str, facts: Mapping[str, str]) -> bytes:
    """Write a table as an Arrow stream or a Parquet file, with `facts` as schema metadata."""
    table = table.replace_schema_metadata(dict(facts))
    buffer = io.BytesIO()
    if media_type == PARQUET:
        pq.write_table(table, buffer, compression="zstd")
    else:
        with pa.ipc.new_stream(buffer, table.schema) as stream:
            stream.write_table(table)
    return buffer.getvalue()
