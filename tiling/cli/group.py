"""How a command ends on an error: one line on standard error and an exit status, no traceback."""

import errno
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click

from tiling.errors import Loc2VecError, Terminated, UserError

MISSING_INPUT = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
# What the loader, PyTorch, the C++ library and Python's threads say.
NO_MEMORY = (
    "failed to map segment", "cannot allocate memory", "can't allocate memory", "bad_alloc",
    "can't start new thread",
)  # fmt: skip
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


class CommandGroup(click.Group):
    """Commands under one name; their errors become text here and nowhere else."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; an error of the user or the machine ends it with one line."""
        try:
            with _sigterm_raises():
                return super().invoke(ctx)
        except Loc2VecError as error:
            _end(str(error), error.exit_status)
        except Terminated:
            os.kill(os.getpid(), signal.SIGTERM)  # whoever sent it sees it work
        except KeyboardInterrupt:
            _end("interrupted", INTERRUPTED)
        except OSError as error:
            # The reader of a pipe is gone, as with `head`: click ends quietly.
            if error.errno == errno.EPIPE:
                raise
            where = f": {error.filename}" if error.filename else ""
            known = UserError if isinstance(error, MISSING_INPUT) else Loc2VecError
            _end(f"{error.strerror or error}{where}", known.exit_status)
        except (MemoryError, ImportError, RuntimeError) as error:
            if not _lacks_memory(error):
                raise
            said = str(error) or "none was left"
            _end(f"there is not enough memory: {said}", Loc2VecError.exit_status)


def _lacks_memory(error: BaseException) -> bool:
    """Tell whether an error is a lack of memory, however a library says it."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(sign in text for sign in NO_MEMORY)


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Let SIGTERM raise `Terminated`: workers are ended and temporary files go, as with Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _raise_terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _raise_terminated(*_: object) -> NoReturn:
    raise Terminated


def _end(message: str, status: int) -> NoReturn:
    """End the command with one line on standard error."""
    click.echo(f"loc2vec: error: {' '.join(message.split())}", err=True)
    raise click.exceptions.Exit(status)
