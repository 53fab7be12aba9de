"""The reference of the HTTP interface, from its OpenAPI schema."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from service.engine.engine import Engine
from service.http.app import create_app
from service.settings import Settings

TITLE = """# HTTP

A running service shows the same at `/docs`, where you can try it, and as OpenAPI at
`/openapi.json`. Errors are documents of [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457).
[Run the service](../service.md) speaks of keys, rates and formats.
"""
Schema = Mapping[str, Any]
BOUNDS = {
    "minimum": "at least {:,}", "maximum": "at most {:,}", "maxItems": "at most {:,} of them",
    "maxLength": "at most {:,} characters",
}  # fmt: skip


def http_page() -> str:
    """Return the page in Markdown: each route with its parameters and answers, then the schemas."""
    schema = create_app(Settings(store="none"), Engine.open).openapi()
    lines = [TITLE, *_routes(schema["paths"]), "\n## Schemas"]
    for name, part in schema["components"]["schemas"].items():
        lines += [f"\n### {name}\n", part.get("description", ""), "", *_properties(part)]
    return "\n".join(lines) + "\n"


def _routes(paths: Schema) -> Iterator[str]:
    tag = None
    for path, methods in paths.items():
        for method, route in methods.items():
            if route["tags"][0] != tag:
                tag = route["tags"][0]
                yield f"\n## {tag.capitalize()}"
            yield f"\n### {method.upper()} {path}\n\n{route.get('description', '')}\n"
            yield from _asked(route)
            yield from _answers(route["responses"])


def _asked(route: Schema) -> Iterator[str]:
    if route.get("parameters"):
        yield "| parameter | type | meaning |\n|---|---|---|"
        for part in route["parameters"]:
            yield _row(part["name"], part["schema"], part["required"])
        yield ""
    for media, body in route.get("requestBody", {}).get("content", {}).items():
        yield f"Body, `{media}`: {_type(body['schema'])}\n"


def _answers(responses: Schema) -> Iterator[str]:
    yield "| status | answer |\n|---|---|"
    for status, answer in responses.items():
        kinds = [
            f"`{media}`" + (f" {_type(body['schema'])}" if "$ref" in body.get("schema", {}) else "")
            for media, body in answer.get("content", {}).items()
        ]
        yield f"| {status} | {answer['description']}{': ' if kinds else ''}{', '.join(kinds)} |"
    yield ""


def _properties(part: Schema) -> Iterator[str]:
    yield "| field | type | meaning |\n|---|---|---|"
    for name, field in part.get("properties", {}).items():
        yield _row(name, field, "default" not in field and name in part.get("required", ()))
    for example in part.get("examples", ()):
        yield f"\n```json\n{json.dumps(example, indent=1)}\n```"


def _row(name: str, field: Schema, required: bool) -> str:
    first = field.get("description", "").replace("|", r"\|")
    notes = [first, "required" if required else "", *_bounds(field)]
    return f"| `{name}` | {_type(field)} | {'; '.join(filter(None, notes))} |"


def _bounds(field: Schema) -> Iterator[str]:
    kinds = [field, *field.get("anyOf", ())]
    for key, words in BOUNDS.items():
        yield from (words.format(_plain(kind[key])) for kind in kinds if key in kind)
    default = field.get("default")
    if default not in (None, [], ""):
        yield f"default `{default if isinstance(default, str) else json.dumps(default)}`"
    yield from (f"for example `{example}`" for example in field.get("examples", ())[:1])


def _plain(number: float) -> float:
    """Return 1000.0 as 1000."""
    return int(number) if number == int(number) else number


def _type(field: Schema) -> str:
    """Return the type in words; schemas are links."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in field:
        kinds = [_type(kind) for kind in field["anyOf"] if kind.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "enum" in field or "const" in field:
        return " or ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    kind = str(field.get("type", "any"))
    return f"{kind} of {_type(field['items'])}" if "items" in field else kind
