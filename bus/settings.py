"""Settings: from the environment only, checked once, said at the start."""

import re
import sys
from typing import Literal, Self

from pydantic import DirectoryPath, Field, ValidationError
from pydantic_settings import BaseSettings

import bus.log


def masked(value: object) -> str:
    """`value` as text, without the user, the password and the query that a URL may hold."""
    text = str(value)
    return re.sub(r"://.*@", "://***@", re.sub(r"\?.*", "?***", text)) if "://" in text else text


class Settings(BaseSettings, frozen=True, env_ignore_empty=True, hide_input_in_errors=True):
    """What every client needs: its broker, its certificates, its log and its metrics."""

    broker_host: str = Field(
        "localhost", pattern=r"^([\w-]{1,63}(\.[\w-]{1,63})*|[0-9A-Fa-f]*:[0-9A-Fa-f:.]+)$"
    )
    broker_port: int = Field(1883, ge=1, le=65535)
    certs: DirectoryPath | None = (
        None  # ca.crt, tls.crt, tls.key, as `./just enroll` makes them; none: no TLS
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(0, ge=0, le=65535)

    @classmethod
    def load(cls) -> Self:
        """The settings of this process, its log set up; a wrong one ends it with one line that names the variable."""
        try:
            settings = cls()
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            sys.exit(f"{str(first['loc'][0]).upper()}: {first['msg']}")
        bus.log.setup(settings.log_level)
        return settings

    def said(self) -> dict[str, str]:
        """Every effective value, for the log; passwords in URLs are masked."""
        return {name: masked(value) for name, value in self if value is not None}
