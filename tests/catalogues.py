"""A catalogue that is not the shipped one, and what is left of it without a role."""

from pathlib import Path

from tiling.catalogue.catalogue import Catalogue, parse_catalogue

OWN = Path(__file__).parent / "own.toml"


def without(*roles: str) -> Catalogue:
    """Return the catalogue with these roles taken from all channels."""
    text = OWN.read_text(encoding="utf-8")
    for role in roles:
        text = text.replace(f'"{role}"', "").replace("[, ", "[").replace(", ]", "]")
    return parse_catalogue(text, "own.toml")
