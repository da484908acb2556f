"""What a camera is doing, retained by the brokers, so that whoever asks later is told too."""

import json
import time
from datetime import UTC, datetime
from typing import Any

from bus import metrics
from bus.capture import instant
from bus.message import Message
from bus.topics import STATUS, topic
from detector.settings import Settings

EVERY = 10.0  # s; a broker that has forgotten the state is told it again


class Status:
    """The state of a camera, from the frames that come or do not come."""

    def __init__(self, settings: Settings) -> None:
        self._names, self._mode = (settings.edge, settings.camera), settings.mode
        self._up: bool | None = None
        self._since, self._said_at, self._frames = "", 0.0, 0

    def message(self, **facts: Any) -> Message:
        """The state as a message; without facts it is the broker's word for a detector that is gone."""
        body = json.dumps({"state": "down", **facts, "mode": self._mode}).encode()
        return Message(topic(STATUS, *self._names), body, "application/json", retain=True)

    def note(self, up: bool) -> Message | None:
        """Take in a frame, or that the camera is away; what is to be said, on a change and every ten seconds."""
        now, changed, self._frames = time.monotonic(), up is not self._up, self._frames + up
        if changed:
            self._up, self._since = up, instant(datetime.now(UTC))
            metrics.camera_up.labels(*self._names).set(up)
        elif now < self._said_at + EVERY:
            return None
        fps, self._said_at, self._frames = round(self._frames / (now - self._said_at), 1), now, 0
        return self.message(state="up" if up else "down", since=self._since, fps=fps)
