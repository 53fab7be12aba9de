"""The templates of all pages: each page is one HTML file that needs no other file and no network.

Every page extends `base.html.j2`, which has the head, the style sheet and the attribution.
"""

import base64
import io
from functools import cache
from typing import Any

import jinja2
from PIL import Image

from loc2vec.model.arrays import Pixels
from tiling.values import ATTRIBUTION


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("loc2vec.paper", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )


def fill(template: str, **values: Any) -> str:
    """Return the page of a template; `attribution` is among its values already."""
    return _environment().get_template(template).render(attribution=ATTRIBUTION, **values)


def data_url(picture: Pixels, quality: int = 82) -> str:
    """Return a picture uint8 [H, W], [H, W, 3] or [H, W, 4] as a data URL: lossy WebP."""
    return _data_url(picture, "WEBP", quality=quality, method=4)


def exact_data_url(picture: Pixels) -> str:
    """Return a picture uint8 [H, W, 3] as a data URL: lossless PNG."""
    return _data_url(picture, "PNG", optimize=True)


def png_url(png: bytes) -> str:
    """Return the bytes of a PNG as a data URL."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _data_url(picture: Pixels, format_: str, **options: Any) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format_, **options)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return f"data:image/{format_.lower()};base64,{encoded}"
