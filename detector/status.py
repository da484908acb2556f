"""What a camera is doing, retained by the edge broker, so that whoever asks later is told too."""

import json
import time
from datetime import UTC, datetime

from bus import metrics
from bus.fields import instant
from bus.message import Message
from bus.topics import STATUS, CameraId, topic

SAY_EVERY_S = 10.0  # a broker that has forgotten the state is told it again


class Status:
    """The state of a camera, from the frames that come or do not come."""

    def __init__(self, camera_id: CameraId, mode: str) -> None:
        self._camera_id = camera_id
        self._mode = mode
        self._up: bool | None = None
        self._since = ""
        self._said_at = 0.0
        self._frames = 0  # since then

    def will(self) -> Message:
        """The broker's word for a detector that is gone."""
        return self._message({"state": "down", "mode": self._mode})

    def note(self, *, up: bool) -> Message | None:
        """Take in a frame, or that the camera is away.

        What is to be said, on a change and every ten seconds.
        """
        now = time.monotonic()
        changed = up is not self._up
        if up:
            self._frames += 1
        if changed:
            self._up = up
            self._since = instant(datetime.now(UTC))
            metrics.camera_up.labels(*self._camera_id).set(up)
        elif now < self._said_at + SAY_EVERY_S:
            return None
        fps = round(self._frames / (now - self._said_at), 1)
        self._said_at = now
        self._frames = 0
        return self._message(
            {
                "state": "up" if up else "down",
                "mode": self._mode,
                "since": self._since,
                "at": instant(datetime.now(UTC)),
                "fps": fps,
            }
        )

    def _message(self, body: dict[str, str | float]) -> Message:
        return Message(
            topic(STATUS, self._camera_id),
            json.dumps(body).encode(),
            content_type="application/json",
            retain=True,
        )
