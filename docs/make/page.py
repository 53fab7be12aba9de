"""How a page of the docs takes in a text that a program made."""

import os
from datetime import UTC, datetime
from pathlib import Path

import click
import torch

from tiling.files.atomic import write_text
from tiling.machine import cpu_count


def publish(path: Path, begin: str, end: str, text: str) -> None:
    """Replace what stands between two lines of a page by `text`."""
    before, begun, rest = path.read_text(encoding="utf-8").partition(begin)
    _, ended, after = rest.partition(end)
    if not (begun and ended):
        raise click.ClickException(
            f"{path} lacks the lines between which the tables go: {begin} and {end}"
        )
    write_text(path, f"{before}{begin}\n{text}\n{end}{after}")


def made(path: Path) -> str:
    """Say when a file of figures was written, and which kind of machine this is."""
    day = datetime.fromtimestamp(path.stat().st_mtime, UTC).date()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cpu = f"{cpu_count()} CPUs ({torch.backends.cpu.get_cpu_capability()})"
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"*{day}. {cpu}, {memory:.0f} GB, {gpu}.*"
