"""How a command ends on an error: one line on standard error and an exit status, no traceback."""

import errno
from typing import Any, NoReturn

import click

from tiling.errors import Loc2VecError, UserError

MISSING_INPUT = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


class CommandGroup(click.Group):
    """Commands under one name; their errors become text here and nowhere else."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; an error of the user or the machine ends it with one line."""
        try:
            return super().invoke(ctx)
        except Loc2VecError as error:
            _end(str(error), error.exit_status)
        except KeyboardInterrupt:
            _end("interrupted", INTERRUPTED)
        except OSError as error:
            # The reader of a pipe is gone, as with `head`: click ends quietly.
            if error.errno == errno.EPIPE:
                raise
            where = f": {error.filename}" if error.filename else ""
            known = UserError if isinstance(error, MISSING_INPUT) else Loc2VecError
            _end(f"{error.strerror or error}{where}", known.exit_status)


def _end(message: str, status: int) -> NoReturn:
    """End the command with one line on standard error."""
    click.echo(f"loc2vec: error: {' '.join(message.split())}", err=True)
    raise click.exceptions.Exit(status)
