"""Configuration of logging, always to standard error: text for people, JSON for programs."""

import logging
from contextvars import ContextVar
from typing import Any, Literal

from uvicorn.logging import DefaultFormatter

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")


class WithRequestId(logging.Filter):
    """Adds the id of the request that a line belongs to."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        record.request_id = REQUEST_ID.get()
        return True


class OneLine(DefaultFormatter):
    """Lines for people that nobody else can write: what a client sends stays within its line.

    Signs that are not printed are escaped, and the lines of a traceback are indented.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - of the base class
        """Return the first line."""
        record.message = _printable(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - of the base class
        """Return the traceback."""
        lines = super().formatException(ei).split("\n")
        return "\n".join(f"  {_printable(line)}" for line in lines)


def _printable(text: str) -> str:
    return (
        text
        if text.isprintable()
        else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    )


def log_config(log_format: Literal["text", "json"]) -> dict[str, Any]:
    """Return a configuration for `logging.config.dictConfig`."""
    formatters = {
        "text": {"()": OneLine, "fmt": "%(levelprefix)s %(message)s"},
        "json": {
            "()": "pythonjsonlogger.json.JsonFormatter",
            "fmt": "%(asctime)s %(levelname)s %(name)s %(message)s %(request_id)s",
            "rename_fields": {"asctime": "time", "levelname": "level", "name": "logger"},
        },
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"chosen": formatters[log_format]},
        "filters": {"request_id": {"()": WithRequestId}},
        "handlers": {
            "chosen": {
                "class": "logging.StreamHandler",
                "formatter": "chosen",
                "filters": ["request_id"],
            },
        },
        "loggers": {
            name: {"handlers": ["chosen"], "level": "INFO", "propagate": False} for name in LOGGERS
        },
    }


LOGGERS = ("uvicorn", "service", "tiling", "loc2vec")
