"""The tables of docs/settings.md, made of what the settings say of themselves.

python -m tests.docs.settings_table
"""

import argparse
import sys
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

import bus.settings
import detector.settings
import processor.settings
from bus.topics import Name
from tests.docs.page import ROOT, filled

PAGE = ROOT / "docs" / "settings.md"
HEAD = "| variable | default | allowed | what it is |\n|---|---|---|---|\n"
CLIENTS: dict[str, type[bus.settings.Settings]] = {
    "all": bus.settings.Settings,
    "detector": detector.settings.Settings,
    "processor": processor.settings.Settings,
}

_NAME = TypeAdapter(Name).json_schema()["pattern"]


@dataclass(frozen=True, slots=True)
class Setting:
    """One row: the variable, what it is without it, what it may be, and what it does."""

    variable: str
    default: str
    allowed: str
    description: str

    @classmethod
    def of(cls, name: str, schema: dict[str, Any], *, required: bool) -> "Setting":
        """The setting that a field's JSON schema describes."""
        return cls(
            variable=name.upper(),
            default="must be set" if required else _default(schema["default"]),
            allowed=_allowed(schema),
            description=schema["description"],
        )

    def row(self) -> str:
        """The row of the table."""
        description = self.description.replace("|", r"\|")
        return f"| `{self.variable}` | {self.default} | {self.allowed} | {description} |\n"


def settings(client: str) -> list[Setting]:
    """What `client` adds to the settings of all, in the order of its class."""
    kind = CLIENTS[client]
    inherited = set() if client == "all" else set(bus.settings.Settings.model_fields)
    schema = kind.model_json_schema()
    return [
        Setting.of(name, field, required=name in schema.get("required", ()))
        for name, field in schema["properties"].items()
        if name not in inherited
    ]


def _default(value: object) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return f"`{int(value)}`"
    return f"`{value}`"


_FORMATS = {"directory-path": "a folder", "file-path": "a file"}


def _allowed(schema: dict[str, Any]) -> str:
    """What a value may be, in words; nothing where any text will do."""
    if "anyOf" in schema:  # a type, or none
        return _allowed(schema["anyOf"][0])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    match schema.get("type"):
        case "boolean":
            return "`0`, `1`"
        case "integer" | "number":
            return _range(schema)
        case "string" if schema.get("pattern") == _NAME:
            return "[a name](contract.md#names)"
        case "string" if "maxLength" in schema:
            return f"{schema['minLength']} to {schema['maxLength']} characters"
    if schema.get("contentMediaType") == "application/json":
        return "JSON"
    return _FORMATS.get(schema.get("format", ""), "")


def _range(schema: dict[str, Any]) -> str:
    """The range of a number."""
    if "minimum" in schema and "maximum" in schema:
        return f"{schema['minimum']:.10g} to {schema['maximum']:.10g}"
    ends = []
    if "minimum" in schema:
        ends.append(f"at least {schema['minimum']:.10g}")
    if "exclusiveMinimum" in schema:
        ends.append(f"above {schema['exclusiveMinimum']:.10g}")
    if "maximum" in schema:
        ends.append(f"at most {schema['maximum']:.10g}")
    if "exclusiveMaximum" in schema:
        ends.append(f"below {schema['exclusiveMaximum']:.10g}")
    return ", ".join(ends)


def page() -> str:
    """The page as it should be now."""
    text = PAGE.read_text()
    for client in CLIENTS:
        rows = "".join(setting.row() for setting in settings(client))
        text = filled(text, part=client, content=f"{HEAD}{rows}")
    return text


def main() -> None:
    """Write the page anew, or with --check say whether it is stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, exit with 1 if stale")
    text = page()
    if not parser.parse_args().check:
        PAGE.write_text(text)
    elif PAGE.read_text() != text:
        sys.exit("docs/settings.md is not what the settings say: type ./just fmt")


if __name__ == "__main__":
    main()
