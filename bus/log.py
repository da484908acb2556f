"""The log: one JSON line per event on standard error."""

import logging

from pythonjsonlogger.json import JsonFormatter

log = logging.getLogger("facebridge")


def setup(level: str) -> None:
    """Send every log record to standard error as JSON; `extra` gives an event its fields."""
    formatter = JsonFormatter(
        "%(levelname)s%(message)s",
        rename_fields={"levelname": "level", "message": "event"},
        timestamp="at",
    )
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler], force=True)
