"""A camera that stalls, freezes, changes its size, goes away and comes back; and what the cloud is told of it."""

import json
import queue
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bus.message import Message
from demo.stack import Stack
from detector.eye.camera import Frame, SourceError, frames
from detector.settings import Settings
from identity.authority import PROCESSOR
from tests.support.peer import Peer
from tests.support.waiting import until


class Source:
    """A network camera (MJPEG) that can be put into a bad mood: frozen, stalled, gone, wide."""

    def __init__(self) -> None:
        self.mood, random = "", np.random.default_rng(1)
        noise = [random.integers(0, 255, (120, 160, 3), np.uint8) for _ in range(20)]
        self.frames = [cv2.imencode(".jpg", picture)[1].tobytes() for picture in noise]
        wide = [cv2.resize(picture, (320, 120)) for picture in noise]
        self.wide = [cv2.imencode(".jpg", picture)[1].tobytes() for picture in wide]
        source = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if source.mood == "gone":
                    return self.send_error(503)
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                source.play(self.wfile)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://user:secret@127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def play(self, out: Any) -> None:
        number = 0
        while self.mood != "gone":
            time.sleep(1 / 20)
            number += self.mood != "frozen"
            picture = (self.wide if self.mood == "wide" else self.frames)[number % 20]
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
            if self.mood != "stalled":
                try:
                    out.write(head.encode() + picture + b"\r\n")
                except OSError:
                    return


class Watch:
    """What `frames` gives, read as it comes."""

    def __init__(self, source: Source, **settings: Any) -> None:
        self.stop, self.got = threading.Event(), queue.SimpleQueue[Frame | None | SourceError]()
        given = {"detect_fps": 10, "frozen_s": 1, **settings}
        self.settings = Settings(edge="e", source=source.url, **given)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        try:
            for frame in frames(self.settings, self.stop):
                self.got.put(frame)
        except SourceError as error:
            self.got.put(error)

    def until(self, kind: Any, seconds: float = 20, after: float = 0) -> Any:
        """The next thing of a kind, that was not taken before the time `after`."""
        deadline = time.monotonic() + seconds
        while True:
            thing = self.got.get(timeout=max(deadline - time.monotonic(), 0.01))
            if isinstance(thing, kind) and (not isinstance(thing, Frame) or thing.t >= after):
                return thing


@pytest.fixture
def source() -> Iterator[Source]:
    source = Source()
    yield source
    source.mood = "gone"
    source.server.shutdown()
    source.server.server_close()


@pytest.fixture
def watch(source: Source) -> Iterator[Watch]:
    watch = Watch(source)
    watch.until(Frame)
    yield watch
    watch.stop.set()
    watch.thread.join(15)
    assert not watch.thread.is_alive()


@pytest.mark.parametrize("mood", ["frozen", "stalled", "gone"])
def test_a_camera_in_a_mood_is_away_and_comes_back(source: Source, watch: Watch, mood: str) -> None:
    for _ in range(2):
        source.mood = mood
        watch.until(type(None))
        time.sleep(3)
        source.mood, back = "", time.monotonic()
        assert watch.until(Frame, 10, after=back).picture.shape == (120, 160, 3)


def test_a_frozen_camera_that_is_opened_again_is_still_frozen(source: Source, watch: Watch) -> None:
    source.mood = "frozen"
    watch.until(type(None))
    watch.until(type(None))
    while not watch.got.empty():
        watch.got.get()
    time.sleep(8)
    assert {type(watch.got.get()) for _ in range(watch.got.qsize())} == {type(None)}


def test_a_camera_is_looked_at_as_it_is_whatever_was_asked_for(source: Source) -> None:
    source.mood = "wide"
    watch = Watch(source, width=1920, height=1080)
    assert watch.until(Frame).picture.shape == (120, 320, 3)
    source.mood = "gone"
    watch.until(type(None))
    source.mood, back = "", time.monotonic()
    assert watch.until(Frame, after=back).picture.shape == (120, 160, 3)
    watch.stop.set()


def test_a_camera_that_stays_away_is_given_up_in_one_line(source: Source) -> None:
    watch = Watch(source, camera_give_up=3)
    watch.until(Frame)
    source.mood, began = "gone", time.monotonic()
    said = str(watch.until(SourceError, 20))
    assert 3 < time.monotonic() - began < 15
    assert said.startswith("SOURCE: http://***@127.0.0.1")
    assert "secret" not in said


def test_what_is_masked_is_black(source: Source, watch: Watch) -> None:
    masked = Watch(
        source,
        mask=json.dumps([[[0, 0], [0.5, 0], [0.5, 1], [0, 1]], [[0.25, 0], [0.75, 0], [0.75, 1]]]),
    )
    picture = masked.until(Frame).picture
    masked.stop.set()
    assert not picture[:, :80].any()
    assert not picture[2, :118].any()
    assert picture[-3, 130:].any()
    assert watch.until(Frame).picture[:, :80].any()


# --- what is said of it


class Site(Stack):
    """Edge and cloud broker, a detector on a camera in a mood, and somebody in the cloud who asks."""

    def state(self) -> dict[str, Any]:
        """What a newcomer in the cloud is told."""
        with Peer(
            self.ports["cloud-processors"], self.bundle(PROCESSOR), "asker", ("status/#",)
        ) as asker:
            time.sleep(0.3)
            assert set(asker.topics()) <= {"status/edge-1/camera"}
            return json.loads(asker.got[-1].payload) if asker.got else {}

    def is_(self, **facts: Any) -> bool:
        return facts.items() <= self.state().items()


@pytest.fixture
def site(tmp_path: Path, source: Source) -> Iterator[Site]:
    env = {"SOURCE": source.url, "FROZEN_S": "1", "DETECT_FPS": "10"}
    with Site(tmp_path / "run", env={"detector": env}) as site:
        site.start("cloud-broker", "edge-broker", "detector")
        until(lambda: site.is_(state="up"))
        yield site


def test_a_freeze_is_known_in_the_cloud_and_its_end_too(site: Site, source: Source) -> None:
    up = site.state()
    assert up.keys() == {"state", "since", "fps", "mode"}
    assert up["mode"] == "best"
    source.mood = "frozen"
    until(lambda: site.is_(state="down"))
    assert site.state()["since"] > up["since"]
    assert site.metric("detector", "facebridge_camera_up") == 0
    time.sleep(4)
    source.mood = ""
    until(lambda: site.is_(state="up"), 10)
    assert site.metric("detector", "facebridge_camera_up") == 1
    assert "secret" not in (site.folder / "detector" / "log").read_text()


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_detector_that_is_gone_is_known_in_the_cloud(site: Site, how: str) -> None:
    getattr(site, how)("detector")
    until(lambda: site.is_(state="down"))
    assert "since" not in site.state()
    site.start("detector")
    until(lambda: site.is_(state="up"))


def test_brokers_that_forget_are_told_again(site: Site) -> None:
    for broker in ("cloud-broker", "edge-broker"):
        site.kill(broker)
        site.start(broker)
        until(lambda: site.is_(state="up"), 40)


def test_what_changed_during_an_outage_is_known_after_it(site: Site, source: Source) -> None:
    site.kill("cloud-broker")
    source.mood = "frozen"
    time.sleep(3)
    site.start("cloud-broker")
    until(lambda: site.is_(state="down"), 40)


def test_an_edge_cannot_speak_of_anothers_camera(site: Site) -> None:
    with (
        Peer(
            site.ports["cloud-processors"], site.bundle(PROCESSOR), "asker", ("status/#",)
        ) as asker,
        Peer(site.ports["cloud"], site.bundle("edge-2")) as other,
    ):
        for edge in ("edge-1", "edge-2"):
            other.say(Message(f"status/{edge}/forged", b"{}"))
        until(lambda: "status/edge-2/forged" in asker.topics())
        assert "status/edge-1/forged" not in asker.topics()
