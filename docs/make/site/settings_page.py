"""The reference of settings, from the fields of `Settings`."""

from collections.abc import Iterator

from pydantic.fields import FieldInfo

from service.cli.serve import serve_command
from service.settings import FILE, PREFIX, Settings

TITLE = f"""# Settings

The service takes its settings from options of `loc2vec serve`, from variables of the environment,
and from a TOML file that `{FILE}` names. Options win over variables, and these over the file. The
file has the small names without the prefix: `port = 9000`. An unknown setting stops the service.
[Run the service](../service.md) explains them.

`LOC2VEC_PROVIDER` belongs to `loc2vec fetch` and `loc2vec import`: it names the
[provider of extracts](../fetch.md#providers).

| variable, option | meaning | default |
|---|---|---|
"""
BOUNDS = {"ge": "at least", "gt": "above", "le": "at most"}


def settings_page() -> str:
    """Return the page in Markdown: a row for each setting."""
    return TITLE + "\n".join(_row(*item) for item in Settings.model_fields.items()) + "\n"


def _row(name: str, field: FieldInfo) -> str:
    meaning = "; ".join([field.description or "", *_bounds(field)])
    return f"| `{PREFIX}{name.upper()}`{_option(name)} | {meaning} | {_default(field)} |"


def _option(name: str) -> str:
    options = {param.name: param.opts[0] for param in serve_command.params}
    return f"<br>`{options[name]}`" if name in options else ""


def _bounds(field: FieldInfo) -> Iterator[str]:
    for bound in field.metadata:
        for key, words in BOUNDS.items():
            if hasattr(bound, key):
                yield f"{words} {getattr(bound, key):,}"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default_factory is not None:
        return "one a CPU"
    return "" if field.default in (None, "", ()) else f"`{str(field.default).lower()}`"
