"""The fields of what travels: what each may hold, and the one form in which it is written."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AwareDatetime, Field, PlainSerializer
from pydantic.functional_validators import AfterValidator, BeforeValidator

_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(9999, 1, 1, tzinfo=UTC)  # before the calendar's end, for UTC may lie a day later
_SHARE_DIGITS = 4


def instant(at: datetime) -> str:
    """RFC 3339 in UTC with milliseconds."""
    text = at.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def milliseconds(at: datetime) -> str:
    """The three digits after its second."""
    return f"{at.microsecond // 1000:03d}"


def _cut_to_milliseconds(at: datetime) -> datetime:
    return datetime.fromisoformat(instant(at))


def _rounded(share: float) -> float:
    return round(share, _SHARE_DIGITS)


def _share_text(share: float) -> str:
    return f"{share:.{_SHARE_DIGITS}f}"


def _split(value: object) -> object:
    return value.split(",") if isinstance(value, str) else value


def _joined(numbers: tuple[int, ...]) -> str:
    return ",".join(str(number) for number in numbers)


Seq = Annotated[int, Field(ge=1, le=999_999_999)]
Tx = Annotated[int, Field(ge=0, lt=2**63)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Instant = Annotated[
    AwareDatetime, Field(ge=_EARLIEST, lt=_LATEST), AfterValidator(_cut_to_milliseconds)
]
Share = Annotated[float, Field(ge=0, le=1), AfterValidator(_rounded), PlainSerializer(_share_text)]
_Pixels = Annotated[int, Field(ge=0, le=65535)]
_Commas = (BeforeValidator(_split), PlainSerializer(_joined))
Box = Annotated[tuple[_Pixels, _Pixels, _Pixels, _Pixels], *_Commas]  # x, y, w, h
Size = Annotated[tuple[_Pixels, _Pixels], *_Commas]  # w, h
VisitName = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,40}$")]
ShotNumber = Annotated[int, Field(ge=1, le=9999)]
