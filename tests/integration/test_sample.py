"""The sample clip: what its truth says is in the pictures."""

import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from demo.mjpeg import MjpegServer
from demo.sample import Clip, make
from demo.sample_camera import Film
from demo.scene import SCENE, SCENES, Scene, varied
from detector.eye.faces import Faces, model_path
from tests.bench.pictures import pictures
from tests.bench.truth import Truth


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return make(tmp_path_factory.mktemp("sample"))


def test_every_visit_is_seen_and_nothing_else(clip: Clip) -> None:
    truth = Truth.read(clip.truth)
    frames = list(pictures(clip.video))
    assert len(frames) == truth.fps * SCENE.seconds
    faces = Faces(model_path(None))
    hits = dict.fromkeys(range(len(SCENE.visits)), 0)
    for number in range(0, len(frames), SCENE.fps // 5):
        for face in faces.find(frames[number]):
            whose = truth.whose(number, face.box)
            assert whose is not None, f"frame {number}: {face.box} is nobody's"
            hits[whose] += 1
    assert all(count >= 3 for count in hits.values()), hits
    assert sum(hits.values()) >= 60


def test_the_same_seed_makes_the_same_clip(tmp_path: Path) -> None:
    short = Scene(SCENE.visits[:1], seconds=1)
    one = make(tmp_path / "1", 3, short)
    two = make(tmp_path / "2", 3, short)
    other = make(tmp_path / "3", 4, short)
    assert one.video.read_bytes() == two.video.read_bytes() != other.video.read_bytes()
    assert one.truth.read_text() == two.truth.read_text()


def test_a_clip_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    short = Scene(SCENE.visits[:1], seconds=0.2)
    before = make(tmp_path, 3, short).video.stat().st_mtime_ns
    assert make(tmp_path, 3, short).video.stat().st_mtime_ns == before


def test_a_seed_varies_a_scene_the_same_way_each_time() -> None:
    for scene in SCENES.values():
        assert varied(scene, 1) == varied(scene, 1) != varied(scene, 2)
        assert len(varied(scene, 1).visits) == len(scene.visits)


def test_whoever_comes_in_a_scene_is_over_before_its_end() -> None:
    for name, scene in SCENES.items():
        for seed in range(20):
            visits = varied(scene, seed).visits
            starts = [visit.start for visit in visits]
            ends = [visit.start + visit.seconds for visit in visits]
            assert min(starts, default=0) >= 0, (name, seed)
            assert max(ends, default=0) < scene.seconds, (name, seed)


def test_nobody_is_seen_behind_the_nearer_one(tmp_path: Path) -> None:
    scene = replace(SCENES["behind"], width=320, height=240, fps=5)
    visits = Truth.read(make(tmp_path, 1, scene).truth).visits
    nearer = [sight.share for sight in visits[0].values()]
    passing = [sight.share for sight in visits[1].values()]
    gone = [sight.share for sight in visits[2].values()]
    assert min(nearer[10:-15]) > 0.9
    assert min(passing[3:-3]) < 0.1 < passing[-5]
    assert gone[-1] < 0.1 < max(gone)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """A clip of nine frames, three a second."""
    return make(tmp_path_factory.mktemp("short"), 1, Scene(SCENE.visits[:1], fps=3, seconds=3))


def looks(film: Film, count: int) -> list[bytes]:
    """What the camera shows in the middle of each third of a second from the first look on."""
    began = 100.0
    film.frame(began)
    return [film.frame(began + (number + 0.5) / film.fps) for number in range(count)]


def test_after_the_clip_the_camera_shows_its_last_frame(short: Clip) -> None:
    film = Film(short.video, loop=False)
    seen = looks(film, 12)
    assert len(set(seen[:9])) == 9
    assert set(seen[9:]) == {seen[8]}


def test_in_a_loop_the_people_come_again(short: Clip) -> None:
    film = Film(short.video, loop=True)
    seen = looks(film, 18)
    assert len(set(seen[:9])) == 9
    assert seen[9:] == seen[:9]


class Grey:
    """A camera that shows one grey after another, or nothing."""

    def __init__(self) -> None:
        self.brightness = 0
        self.is_stalled = False

    def picture(self) -> bytes | None:
        if self.is_stalled:
            return None
        self.brightness = (self.brightness + 10) % 250
        grey = np.full((48, 64, 3), self.brightness, np.uint8)
        return cv2.imencode(".jpg", grey)[1].tobytes()


@pytest.fixture
def camera() -> Iterator[tuple[Grey, MjpegServer]]:
    grey = Grey()
    with MjpegServer(grey.picture, fps=20) as server:
        yield grey, server


def test_a_network_camera_is_read_by_opencv(camera: tuple[Grey, MjpegServer]) -> None:
    _, server = camera
    capture = cv2.VideoCapture(f"http://127.0.0.1:{server.server_port}/any", cv2.CAP_FFMPEG)
    seen = []
    for _ in range(3):
        is_there, picture = capture.read()
        assert is_there
        assert picture.shape == (48, 64, 3)
        seen.append(round(picture.mean()))
    capture.release()
    assert np.diff(seen) == pytest.approx([10, 10], abs=1)


def test_a_network_camera_that_goes_away_ends_its_streams(
    camera: tuple[Grey, MjpegServer],
) -> None:
    _, server = camera
    url = f"http://127.0.0.1:{server.server_port}/"
    with urllib.request.urlopen(url, timeout=5) as stream:
        assert stream.read(7) == b"--frame"
        server.is_away = True
        while stream.read(4096):
            pass
    with pytest.raises(urllib.error.HTTPError, match="503"):
        urllib.request.urlopen(url, timeout=5)
    server.is_away = False
    with urllib.request.urlopen(url, timeout=5) as stream:
        assert stream.read(7) == b"--frame"


def test_a_network_camera_that_stalls_sends_nothing(camera: tuple[Grey, MjpegServer]) -> None:
    grey, server = camera
    grey.is_stalled = True
    url = f"http://127.0.0.1:{server.server_port}/"
    with urllib.request.urlopen(url, timeout=1) as stream, pytest.raises(TimeoutError):
        stream.read(1)
