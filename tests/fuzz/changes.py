"""Change files with what no server sends: broken XML, impossible numbers, bombs."""

import bz2
import gzip
import random
from pathlib import Path
from xml.sax.saxutils import quoteattr

from tests.fuzz.attack import damage
from tests.fuzz.extracts import GROUND_ID, POOL

IDS = ("0", "-1", "1", str(2**31), str(2**63 - 1), str(-(2**63)), str(10**20), "x", "", " 7", "1e3")
DEGREES = ("nan", "inf", "-inf", "900", "91", "90", "180", "1e400", "", "x", "20,5", "20.0050001",
           "-0", "0x14", "9" * 5000)  # fmt: skip
VERSIONS = ("0", "-3", "1", "2", "2147483647", "4294967295", str(10**11), "x", "")
TIMES = ("2030-01-01T00:00:00Z", "9999-99-99T99:99:99Z", "", "x", "0000-00-00T00:00:00Z")
TEXTS = ("", "yes", "x" * 300, "x" * 100_000, "\x00", "\n", "\u202e", "\U0001f3e0" * 99, "\ufffe",
         "<!--", "]]>", "&#0;", "\ud800")  # fmt: skip
TAGS = (
    ("building", "yes"), ("natural", "tree"), ("natural", "water"), ("natural", "coastline"),
    ("highway", "primary"), ("place", "town"), ("name", "New"), ("type", "multipolygon"),
)  # fmt: skip
LAUGHS = "".join(f'<!ENTITY l{n + 1} "{f"&l{n};" * 10}">' for n in range(9))
DOCTYPES = (
    f'<!DOCTYPE osmChange [<!ENTITY l0 "ha">{LAUGHS}]>',
    '<!DOCTYPE osmChange [<!ENTITY l9 SYSTEM "file:///etc/hostname">]>',
    '<!DOCTYPE osmChange SYSTEM "http://127.0.0.1:9/none.dtd">',
)  # fmt: skip
SECTIONS = ("create", "modify", "delete", "remove", "osm", "")
DEPTH, BOMB = 20_000, 200_000


def hostile_changes(path: Path, rng: random.Random) -> None:
    """Write a change file, packed or not, in place of the one before: its ending says which."""
    for before in path.parent.glob(f"{path.name}.*"):
        before.unlink()
    path = path.with_suffix(rng.choice([".osc", ".osc", ".osc.gz", ".osc.bz2"]))
    data = _document(rng).encode("utf-8", "surrogatepass")
    if rng.random() < 0.15:
        data = damage(data, rng)
    if path.suffix == ".gz":
        data = gzip.compress(data)
    elif path.suffix == ".bz2":
        data = bz2.compress(data)
    path.write_bytes(damage(data, rng) if rng.random() < 0.1 else data)


def _document(rng: random.Random) -> str:
    odd = rng.random()
    sections = [_section(rng, odd) for _ in range(rng.choice([1, 1, 2, 5]))]
    if odd < 0.03:
        sections.append("<create>" * DEPTH)
    if odd > 0.97:
        sections.append('<modify><node id="1" version="2" lat="20" lon="20"/></modify>' * BOMB)
    root = rng.choice(["osm", "osmChange version='9'", "x"]) if odd < 0.06 else "osmChange"
    version = "" if " " in root else ' version="0.6"'
    doctype = rng.choice(DOCTYPES) if 0.06 < odd < 0.12 else ""
    end = "" if rng.random() < 0.03 else f"</{root.split()[0]}>"
    return f"<?xml version='1.0'?>{doctype}<{root}{version}>{''.join(sections)}{end}"


def _section(rng: random.Random, odd: float) -> str:
    name = rng.choice(SECTIONS[: 6 if odd < 0.2 else 3])
    kinds = [rng.choice([_node, _way, _relation]) for _ in range(rng.choice([0, 1, 3, 20]))]
    inside = "".join(kind(rng) for kind in kinds)
    return f"<{name}>{inside}</{name}>" if name else inside


def _now_and_then(rng: random.Random, usual: object, odd: tuple[str, ...]) -> str:
    return rng.choice(odd) if rng.random() < 0.003 else str(usual)


def _facts(rng: random.Random, first: int) -> str:
    osm_id = _now_and_then(rng, first + rng.randrange(60), IDS)
    version = _now_and_then(rng, rng.randrange(2, 9), VERSIONS)
    when = f' timestamp="{rng.choice(TIMES)}"' if rng.random() < 0.01 else ""
    return f'id="{osm_id}" version="{version}"{when}'


def _tags(rng: random.Random) -> str:
    tags = rng.choices(TAGS, k=rng.choice([0, 1, 1, 3]))
    if rng.random() < 0.01:
        tags.append((rng.choice(TEXTS), rng.choice(TEXTS)))
    if rng.random() < 0.02:
        tags.append((rng.choice(["name", "building"]), rng.choice(TEXTS)))
    laugh = '<tag k="name" v="&l9;"/>' if rng.random() < 0.003 else ""
    return laugh + "".join(f"<tag k={quoteattr(k)} v={quoteattr(v)}/>" for k, v in tags)


def _node(rng: random.Random) -> str:
    lat, lon = (
        _now_and_then(rng, f"{20 + rng.random() / 90:.7f}", DEGREES) for _ in ("lat", "lon")
    )
    first = rng.choice([GROUND_ID, POOL.start])
    return f'<node {_facts(rng, first)} lat="{lat}" lon="{lon}">{_tags(rng)}</node>'


def _way(rng: random.Random) -> str:
    refs = rng.choices(POOL, k=rng.choice([0, 1, 2, 3, 5, 100]))
    refs += refs[:1] * rng.randrange(2)
    nodes = "".join(f'<nd ref="{_now_and_then(rng, ref, IDS)}"/>' for ref in refs)
    return f"<way {_facts(rng, 1)}>{nodes}{_tags(rng)}</way>"


def _relation(rng: random.Random) -> str:
    members = "".join(
        f'<member type="{_now_and_then(rng, "way", ("node", "relation", "x", ""))}" '
        f'ref="{_now_and_then(rng, rng.randrange(1, 60), IDS)}" role="outer"/>'
        for _ in range(rng.choice([0, 1, 2, 5]))
    )
    tags = '<tag k="type" v="multipolygon"/>' + _tags(rng)
    return f"<relation {_facts(rng, 1)}>{members}{tags}</relation>"
