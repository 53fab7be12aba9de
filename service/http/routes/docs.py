"""Routes: the interactive documentation; it makes no third-party requests."""

from importlib import resources

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from starlette.exceptions import HTTPException

router = APIRouter(include_in_schema=False)

# The files of Swagger UI in the package fastapi-offline, whose own page needs inline scripts.
ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}
START = """\
window.addEventListener("load", () => SwaggerUIBundle({
  url: new URL("openapi.json", document.baseURI).href,
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
}));
"""
PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Loc2Vec: the HTTP interface</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="icon" href="docs/favicon.png">
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</head>
<body><div id="swagger-ui"></div></body>
</html>
"""


@router.get("/docs")
async def docs() -> HTMLResponse:
    """Return the page."""
    return HTMLResponse(PAGE)


@router.get("/docs/{name}")
async def asset(request: Request, name: str) -> Response:
    """Return a part of the page."""
    kept = {"Cache-Control": "public, max-age=86400"}
    if name == "start.js":
        return Response(START, media_type="text/javascript", headers=kept)
    if name not in ASSETS:
        raise HTTPException(404)
    content = (resources.files("fastapi_offline") / "static" / name).read_bytes()
    return Response(content, media_type=ASSETS[name], headers=kept)
