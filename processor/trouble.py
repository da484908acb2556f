"""What a store may answer other than yes, and the difference between not now and no."""

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    IncompleteReadError,
)

NO = "store says no"
AWAY = "store not there"

_AWAY_ERRORS = (ConnectionError, HTTPClientError, IncompleteReadError)
# Refusals that a second try may not meet.
_PASSING_CODES = {"BadDigest", "ConditionalRequestConflict", "RequestTimeout"}
_PASSING_STATUSES = {408, 429}


class StoppedError(Exception):
    """The process is ending before the store has answered; the message is not acknowledged."""


class RefusedError(Exception):
    """The store refuses this one object, while it takes others; the text is the store's own."""


class HollowError(BotoCoreError):  # type: ignore[misc]
    """The store says that it has the object, and has not."""

    fmt = "the store took the object, but what it gives back is something else"


class UnlikeError(Exception):
    """The key holds other bytes than those that were to be put."""


def kind(error: BaseException | None) -> str:
    """NO if the store refuses us (credentials, bucket, rights), AWAY if it fails or is away."""
    if isinstance(error, ClientError):
        return AWAY if _is_passing(error) else NO
    return AWAY if isinstance(error, _AWAY_ERRORS) else NO


def _is_passing(error: ClientError) -> bool:
    status = error.response["ResponseMetadata"].get("HTTPStatusCode", 500)
    if status >= 500 or status in _PASSING_STATUSES:
        return True
    return code(error) in _PASSING_CODES


def code(error: ClientError) -> str:
    """The store's own word for what was wrong."""
    return str(error.response["Error"]["Code"])
