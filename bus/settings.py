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
    if "://" not in text:
        return text
    text = re.sub(r"\?.*", "?***", text)
    return re.sub(r"://.*@", "://***@", text)


class Settings(BaseSettings, frozen=True, env_ignore_empty=True, hide_input_in_errors=True):
    """What every client needs: its broker, its certificates, its log and its metrics."""

    broker_host: str = Field(
        "localhost",
        pattern=r"^([\w-]{1,63}(\.[\w-]{1,63})*|[0-9A-Fa-f]*:[0-9A-Fa-f:.]+)$",
        description="Name or address of this client's MQTT broker.",
    )
    broker_port: int = Field(1883, ge=1, le=65535, description="The broker's TCP port.")
    certs: DirectoryPath | None = Field(
        None,
        description="Folder with `ca.crt`, `tls.crt` and `tls.key`, as `./just enroll` makes them;"
        " without it the connection has no TLS.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO",
        description="The least level that is logged.",
    )
    metrics_host: str = Field("127.0.0.1", description="Address at which metrics are served.")
    metrics_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="TCP port of `/metrics`, `/healthz` and `/readyz`; 0 serves none.",
    )

    @classmethod
    def load(cls) -> Self:
        """The settings of this process, its log set up.

        A wrong one ends it with one line that names the variable.
        """
        try:
            settings = cls()
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            variable = str(first["loc"][0]).upper()
            sys.exit(f"{variable}: {first['msg']}")
        bus.log.setup(settings.log_level)
        return settings

    def said(self) -> dict[str, str]:
        """Every effective value, for the log; passwords in URLs are masked."""
        return {name: masked(value) for name, value in self if value is not None}
