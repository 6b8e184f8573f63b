"""Structured logs: one JSON object per line on standard output."""

from __future__ import annotations

import logging
import sys

from pythonjsonlogger.json import JsonFormatter


def configure(level: str) -> None:
    """Send all logs of the process to standard output as JSON."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        JsonFormatter(
            "%(levelname)s %(name)s %(message)s",
            timestamp=True,
            rename_fields={"levelname": "level", "name": "logger"},
        )
    )
    logging.basicConfig(handlers=[handler], force=True)
    set_level(level)


def set_level(level: str) -> None:
    """Log messages of this level and above from now on."""
    logging.getLogger().setLevel(level)
    # kopf logs every event that it passes on.
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
    # The reflectors log what the API server refuses, and controller/handlers.py why kopf failed.
    # kopf logs each of its requests that fails, and a stack trace for each of its tasks.
    kopf = logging.NOTSET if level == "DEBUG" else logging.CRITICAL
    logging.getLogger("kopf").setLevel(kopf)
