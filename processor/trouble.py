"""What a store may answer other than yes, and the difference between not now and no."""

import threading
import time
from collections.abc import Callable

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    IncompleteReadError,
)

NO = "store says no"
AWAY = "store not there"

# After so long another cell may fare better. One that is refused is most likely alone with it; a
# store that is away is so for all, and their edges would only be sent around.
WEDGED_AFTER_S = {NO: 10.0, AWAY: 600.0}

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
    """The store's own word for what was wrong; empty where it said none, as with a 304."""
    return str(error.response.get("Error", {}).get("Code", ""))


class Trouble:
    """What is wrong with the store now, and since when; for any thread.

    `text` is one line, empty while all is well.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.text = ""
        self._kind = ""
        self._since = 0.0
        self._clock = clock
        self._mutex = threading.Lock()

    def note(self, error: BaseException | None) -> None:
        """The store has failed us once more."""
        with self._mutex:
            if not self.text:
                self._since = self._clock()
            self._kind = kind(error)
            self.text = f"{self._kind}: {error}"

    def over(self) -> None:
        """The store has answered."""
        with self._mutex:
            self.text = ""

    def wedged(self) -> str:
        """The text, once it has lasted so long that edges had better try another cell."""
        with self._mutex:
            if self.text and self._clock() > self._since + WEDGED_AFTER_S[self._kind]:
                return self.text
            return ""
