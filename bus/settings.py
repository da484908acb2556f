"""Settings: from the environment only, checked once, said at the start."""

import sys
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


def masked(value: object) -> str:
    """`value` as text, without the user and password that a URL may hold."""
    text = str(value)
    parts = urlsplit(text) if "://" in text else None
    return text.replace(parts.netloc, "***@" + parts.netloc.rpartition("@")[2]) if parts and "@" in text else text


class Settings(BaseSettings):
    """What every client needs: its broker, its certificate (all three files or none), its log and its metrics."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, hide_input_in_errors=True)

    broker_host: str = "localhost"
    broker_port: int = Field(1883, ge=1, le=65535)
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(0, ge=0, le=65535)

    @model_validator(mode="after")
    def _tls(self) -> Self:
        files = (self.tls_ca, self.tls_cert, self.tls_key)
        if any(files) and not all(files):
            raise ValueError("TLS_CA: set all of TLS_CA, TLS_CERT and TLS_KEY, or none")
        for name, file in zip(("TLS_CA", "TLS_CERT", "TLS_KEY"), files, strict=True):
            if file and not file.is_file():
                raise ValueError(f"{name}: no file {file}; `./just enroll` makes certificates")
        return self

    @classmethod
    def load(cls) -> Self:
        """The settings of this process; a wrong one ends it with one line that names the variable."""
        try:
            return cls()
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = str(first["loc"][0]).upper() + ": " if first["loc"] else ""
            sys.exit(f"{name}{first['msg'].removeprefix('Value error, ')}")

    def said(self) -> dict[str, str]:
        """Every effective value, for the log; passwords in URLs are masked."""
        return {name: masked(value) for name, value in self if value is not None}
