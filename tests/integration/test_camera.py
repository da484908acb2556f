"""A camera that stalls, freezes, changes its size, goes and comes back; and what is told of it."""

import json
import queue
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest

from bus.fields import instant
from bus.message import Message
from demo.stack import Stack
from detector.eye.camera import Away, Frame, Look, SourceError, looks
from detector.settings import Settings
from identity.authority import PROCESSOR
from tests.support.network_camera import Mood, NetworkCamera
from tests.support.peer import Peer
from tests.support.waiting import until

T = TypeVar("T")


class Watch:
    """What `looks` gives, read as it comes."""

    def __init__(self, camera: NetworkCamera, **settings: Any) -> None:
        self.stop = threading.Event()
        self.got = queue.SimpleQueue[Look | SourceError]()
        given = {"detect_fps": 10, "frozen_s": 1, **settings}
        self.settings = Settings(edge="e", source=camera.url, **given)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        try:
            for look in looks(self.settings, self.stop):
                self.got.put(look)
        except SourceError as error:
            self.got.put(error)

    def next(self, kind: type[T], seconds: float = 20) -> T:
        """The next thing of a kind; what comes before it is passed over."""
        deadline = time.monotonic() + seconds
        while True:
            thing = self.got.get(timeout=max(deadline - time.monotonic(), 0.01))
            if isinstance(thing, kind):
                return thing

    def next_frame(self, after: float, seconds: float = 20) -> Frame:
        """The next frame that was not taken before the time `after`."""
        deadline = time.monotonic() + seconds
        while True:
            frame = self.next(Frame, deadline - time.monotonic())
            if frame.t >= after:
                return frame


@pytest.fixture
def camera() -> Iterator[NetworkCamera]:
    with NetworkCamera() as camera:
        yield camera


@pytest.fixture
def watch(camera: NetworkCamera) -> Iterator[Watch]:
    watch = Watch(camera)
    watch.next(Frame)
    yield watch
    watch.stop.set()
    watch.thread.join(15)
    assert not watch.thread.is_alive()


@pytest.mark.parametrize("mood", ["frozen", "stalled", "gone"])
def test_a_camera_in_a_mood_is_away_and_comes_back(
    camera: NetworkCamera, watch: Watch, mood: Mood
) -> None:
    for _ in range(2):
        camera.mood = mood
        watch.next(Away)
        time.sleep(3)
        back = time.monotonic()
        camera.mood = "well"
        assert watch.next_frame(back, 10).picture.shape == (120, 160, 3)


def test_a_frozen_camera_that_is_opened_again_is_still_frozen(
    camera: NetworkCamera, watch: Watch
) -> None:
    camera.mood = "frozen"
    watch.next(Away)
    watch.next(Away)
    while not watch.got.empty():
        watch.got.get()
    time.sleep(8)
    assert {type(watch.got.get()) for _ in range(watch.got.qsize())} == {Away}


def test_a_camera_is_looked_at_as_it_is_whatever_was_asked_for(camera: NetworkCamera) -> None:
    camera.mood = "wide"
    watch = Watch(camera, width=1920, height=1080)
    assert watch.next(Frame).picture.shape == (120, 320, 3)
    camera.mood = "gone"
    watch.next(Away)
    back = time.monotonic()
    camera.mood = "well"
    assert watch.next_frame(back).picture.shape == (120, 160, 3)
    watch.stop.set()


def test_a_camera_that_stays_away_is_given_up_in_one_line(camera: NetworkCamera) -> None:
    watch = Watch(camera, camera_give_up=3)
    watch.next(Frame)
    began = time.monotonic()
    camera.mood = "gone"
    said = str(watch.next(SourceError))
    assert 3 < time.monotonic() - began < 15
    assert said.startswith("SOURCE: http://***@127.0.0.1")
    assert "secret" not in said


def test_what_is_masked_is_black(camera: NetworkCamera, watch: Watch) -> None:
    left_half = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]
    triangle = [[0.25, 0], [0.75, 0], [0.75, 1]]
    masked = Watch(camera, mask=json.dumps([left_half, triangle]))
    picture = masked.next(Frame).picture
    masked.stop.set()
    assert not picture[:, :80].any()
    assert not picture[2, :118].any()
    assert picture[-3, 130:].any()
    assert watch.next(Frame).picture[:, :80].any()


# --- what is said of it


class Site(Stack):
    """Edge and cloud broker, a detector on a camera in a mood, and who listens in the cloud."""

    def listener(self, name: str) -> Peer:
        certs = self.bundle(PROCESSOR)
        port = self.ports["cloud-processors"]
        self.heard = Peer(port, certs, name=name, topics=("status/#",))
        return self.heard

    def state(self) -> dict[str, Any]:
        """What was said last."""
        assert set(self.heard.topics()) <= {"status/edge-1/camera"}
        return json.loads(self.heard.got[-1].payload) if self.heard.got else {}

    def is_up(self) -> bool:
        return self.state().get("state") == "up"

    def is_down(self) -> bool:
        return self.state().get("state") == "down"


@pytest.fixture
def site(tmp_path: Path, camera: NetworkCamera) -> Iterator[Site]:
    env = {"SOURCE": camera.url, "FROZEN_S": "1", "DETECT_FPS": "10"}
    with Site(tmp_path / "run", env={"detector": env}) as site:
        site.start("cloud-broker")
        with site.listener("first"):
            site.start("edge-broker", "detector")
            until(site.is_up)
            yield site


def test_a_freeze_is_known_in_the_cloud_and_its_end_too(site: Site, camera: NetworkCamera) -> None:
    up = site.state()
    assert up.keys() == {"state", "since", "fps", "mode", "at"}
    assert up["since"] <= up["at"] <= instant(datetime.now(UTC))
    assert up["mode"] == "best"
    camera.mood = "frozen"
    until(site.is_down)
    assert site.state()["since"] > up["since"]
    assert site.metric("detector", "facebridge_camera_up") == 0
    time.sleep(4)
    camera.mood = "well"
    until(site.is_up, 10)
    assert site.metric("detector", "facebridge_camera_up") == 1
    assert "secret" not in (site.folder / "detector" / "log").read_text()


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_detector_that_is_gone_is_known_in_the_cloud(site: Site, how: str) -> None:
    getattr(site, how)("detector")
    until(site.is_down)
    assert not {"since", "at"} & site.state().keys()  # nobody knows when it went
    site.start("detector")
    until(site.is_up)


def test_brokers_that_forget_are_told_again(site: Site) -> None:
    for broker in ("cloud-broker", "edge-broker"):
        site.kill(broker)
        site.heard.got.clear()
        site.start(broker)
        until(site.is_up, 40)


def test_what_changed_during_an_outage_is_known_after_it(site: Site, camera: NetworkCamera) -> None:
    site.kill("cloud-broker")
    camera.mood = "frozen"
    time.sleep(3)
    site.start("cloud-broker")
    until(site.is_down, 40)


def test_an_edge_cannot_speak_of_anothers_camera(site: Site) -> None:
    other = Peer(site.ports["cloud"], site.bundle("edge-2"))
    with other:
        for edge in ("edge-1", "edge-2"):
            other.say(Message(f"status/{edge}/forged", b"{}"))
        until(lambda: "status/edge-2/forged" in site.heard.topics())
        assert "status/edge-1/forged" not in site.heard.topics()


def test_who_asks_later_is_told_within_ten_seconds(site: Site) -> None:
    with site.listener("later"):
        until(site.is_up, 11)


def test_the_edge_broker_knows_it_at_once(site: Site) -> None:
    with Peer(site.ports["edge"], topics=("status/#",)) as asker:
        until(lambda: asker.got, 1)
