"""The detector as a process: real faces, its outbox over a kill, one line for all that is wrong."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest
from cv2.typing import MatLike

from bus.capture import SHRUNK_TO_PX, Capture
from bus.topics import CameraId
from demo.sample import carried
from demo.stack import ROOT, Stack
from detector.eye.faces import Faces, ModelError, crop, model_path, png
from detector.outbox import Outbox
from detector.outbox_reader import Ledger
from tests.support.captures import png as filled
from tests.support.captures import shot
from tests.support.peer import Peer
from tests.support.waiting import until


@pytest.fixture(scope="module")
def people() -> tuple[MatLike, MatLike]:
    """Two people, each on a picture of 512 by 512."""
    return carried("skimage", "astronaut.png"), carried("matplotlib", "grace_hopper.jpg")[:512]


@pytest.fixture(scope="module")
def pictures(people: tuple[MatLike, MatLike], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a picture of two people, one of nobody and one that is none."""
    folder = tmp_path_factory.mktemp("pictures")
    cv2.imwrite(str(folder / "1.png"), np.hstack(people))
    cv2.imwrite(str(folder / "2.jpg"), carried("skimage", "coffee.png"))
    (folder / "3.png").write_bytes(b"no picture")
    return folder


def run(tmp_path: Path, **env: object) -> subprocess.CompletedProcess[str]:
    """A detector by itself, with a broker that is not there, until it ends."""
    settings = {
        "EDGE": "edge-1",
        "OUTBOX": tmp_path / "outbox.db",
        "BROKER_PORT": 1,
        "SOURCE": tmp_path,
        **env,
    }
    base = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "detector"],
        env=base | {name: str(value) for name, value in settings.items()},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
    )


def captured(stack: Stack) -> int:
    """How many captures the outbox has taken."""
    return Ledger.read(stack.outbox).captured


def waiting(stack: Stack) -> int:
    """How many captures wait in the outbox."""
    return Ledger.read(stack.outbox).waiting


def until_captured(stack: Stack, count: int) -> None:
    until(lambda: captured(stack) >= count)


def decoded(png: bytes) -> MatLike:
    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture


def test_real_faces_are_found_where_they_are(people: tuple[MatLike, MatLike]) -> None:
    faces = Faces(model_path(None))
    found = sorted(face.box for face in faces.find(np.hstack(people)))
    assert len(found) == 2
    centres = [(224, 118), (512 + 265, 200)]
    for (x, y, w, h), (centre_x, centre_y) in zip(found, centres, strict=True):
        assert x < centre_x < x + w
        assert y < centre_y < y + h
        assert 60 < w < 250
    assert faces.find(carried("skimage", "coffee.png")) == []


@pytest.mark.parametrize("size", [(1, 1), (3, 2000), (2000, 3), (17, 33)])
def test_pictures_of_any_size_are_looked_at(size: tuple[int, int]) -> None:
    assert Faces(model_path(None)).find(np.zeros((*size, 3), np.uint8)) == []


def test_a_face_at_the_edge_stays_inside_the_frame(people: tuple[MatLike, MatLike]) -> None:
    faces = Faces(model_path(None), score=0.3, min_face=8)
    for cut in range(150, 260, 10):
        half = people[0][:, cut:]
        for face in faces.find(half):
            x, y, w, h = face.box
            assert x >= 0
            assert y >= 0
            assert x + w <= half.shape[1]
            assert y + h <= half.shape[0]
            assert png(crop(half, face.box, 0.35)).startswith(b"\x89PNG")


def test_a_crop_has_its_margin_and_is_lossless(people: tuple[MatLike, MatLike]) -> None:
    cut = png(crop(people[0], (180, 60, 100, 120), 0.5))
    assert np.array_equal(decoded(cut), people[0][0:240, 130:330])


def test_a_crop_of_any_size_fits_into_a_message(people: tuple[MatLike, MatLike]) -> None:
    large = png(cv2.resize(people[0], (5000, 2500)))
    assert decoded(large).shape == (SHRUNK_TO_PX // 2, SHRUNK_TO_PX, 3)


def test_a_wrong_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(ModelError, match="no YuNet model"):
        Faces(model_path(tmp_path / "bad.onnx"))


def test_a_folder_becomes_captures(stack: Stack, pictures: Path) -> None:
    stack.set("detector", "SOURCE", str(pictures))
    stack.start("cloud-broker", "edge-broker")  # nothing leaves while the link is down
    with Peer(stack.ports["edge"], topics=("face-detector/#",)) as here:
        stack.start("detector")
        until(lambda: len(here.got) == 2)
    assert captured(stack) == waiting(stack) == 2
    captures = [Capture.from_message(message)[0] for message in here.got]
    assert sorted(capture.seq for capture in captures) == [1, 2]
    for capture in captures:
        _, _, face_width, _ = capture.box
        assert capture.frame == (1024, 512)
        assert decoded(capture.png).shape[1] > face_width


def test_what_is_committed_survives_a_kill(stack: Stack, pictures: Path) -> None:
    stack.set("detector", "SOURCE", str(pictures))
    stack.set("detector", "LOOP", "1")
    stack.start("edge-broker", "detector")
    log = stack.folder / "detector" / "log"
    for kills in range(1, 6):
        until_captured(stack, 10 * kills)
        stack.kill("detector")
        with closing(sqlite3.connect(stack.outbox)) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        ledger = Ledger.read(stack.outbox)
        assert ledger.waiting_seqs == tuple(range(1, ledger.captured + 1))
        said = log.read_text().count('"event": "captured"')
        # A kill may come between the commit and the line about it.
        assert said <= ledger.captured <= said + kills
        stack.start("detector")


def test_a_stopped_detector_ends_at_once_and_keeps_what_waits(stack: Stack, pictures: Path) -> None:
    stack.set("detector", "SOURCE", str(pictures))
    stack.start("edge-broker", "detector")
    until(lambda: captured(stack) == waiting(stack) == 2)
    for number in (signal.SIGTERM, signal.SIGINT):
        began = time.monotonic()
        pid = stack.pid("detector")
        stack.stop("detector", number=number)
        assert time.monotonic() - began < 5
        assert not Path(f"/proc/{pid}").exists()
        stack.start("detector")
    assert waiting(stack) >= 2


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"EDGE": ""}, "EDGE: "),
        ({"EDGE": "../x"}, "EDGE: "),
        ({"CAMERA": "a/b"}, "CAMERA: "),
        ({"SCORE": "2"}, "SCORE: "),
        ({"DETECT_FPS": "0"}, "DETECT_FPS: "),
        ({"MODE": "worst"}, "MODE: "),
        ({"MASK": "0,0 1,0"}, "MASK: "),
        ({"MASK": "[[[0, 0], [1, 0]]]"}, "MASK: "),
        ({"MASK": "[[[0, 0], [1, 0], [2, 2]]]"}, "MASK: "),
        ({"REPEAT_S": "0"}, "REPEAT_S: "),
        ({"BROKER_PORT": "70000"}, "BROKER_PORT: "),
        ({"OUTBOX_FULL": "explode"}, "OUTBOX_FULL: "),
        ({"QOS": "3"}, "QOS: "),
        ({"SOURCE": "/nowhere/at/all"}, "SOURCE: "),
        ({"SOURCE": "/dev/video99"}, "SOURCE: "),
        ({"SOURCE": "rtsp://user:secret@127.0.0.1:1/x"}, "SOURCE: "),
        ({"SOURCE": __file__}, "SOURCE: "),
        ({"MODEL": "/nowhere.onnx"}, "MODEL: "),
        ({"MODEL": __file__}, "MODEL: "),
        ({"OUTBOX": "/proc/outbox.db"}, "OUTBOX: "),
        ({"CERTS": "/nowhere"}, "CERTS: "),
        ({"CERTS": str(ROOT)}, "CERTS: "),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, env: dict[str, str], says: str) -> None:
    ended = run(tmp_path, **env)
    assert ended.returncode not in (0, -signal.SIGKILL)
    plain = [line for line in ended.stderr.splitlines() if not line.startswith("{")]
    assert len(plain) == 1, ended.stderr
    assert plain[0].startswith(says)
    assert "secret" not in ended.stderr


def test_a_folder_without_pictures_is_said(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no picture" in run(tmp_path, SOURCE=empty).stderr


def test_a_taken_port_is_said(tmp_path: Path, pictures: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = run(tmp_path, METRICS_PORT=port, SOURCE=pictures)
    assert ended.returncode == 1
    assert f"METRICS_PORT: cannot listen on 127.0.0.1:{port}" in ended.stderr


def test_a_second_detector_on_the_same_outbox_is_said(
    stack: Stack, pictures: Path, tmp_path: Path
) -> None:
    stack.set("detector", "SOURCE", str(pictures))
    stack.start("edge-broker", "detector")
    ended = run(tmp_path, OUTBOX=stack.outbox, SOURCE=pictures)
    assert ended.returncode == 1
    assert "in use by another detector" in ended.stderr
    assert stack.ended("detector") is None


@pytest.mark.parametrize("source", ["/dev/video99", "nowhere"])
def test_what_waits_is_delivered_though_the_camera_is_absent(stack: Stack, source: str) -> None:
    stack.outbox.parent.mkdir(parents=True)
    with closing(Outbox(stack.outbox, CameraId(stack.edge, "camera"))) as outbox:
        for number in range(200):
            assert outbox.add(shot(png=filled(filler=b"%d" % number)))
    stack.set("detector", "SOURCE", source)
    stack.start("store", "cloud-broker", "edge-broker", "processor")
    stack.launch("detector")
    until(lambda: waiting(stack) == 0, 40)
    until(lambda: stack.ended("detector") == 1)
    assert f"SOURCE: {source} " in stack.obituary("detector")


def test_with_nothing_delivered_an_absent_camera_ends_it(stack: Stack) -> None:
    stack.outbox.parent.mkdir(parents=True)
    with closing(Outbox(stack.outbox, CameraId(stack.edge, "camera"))) as outbox:
        assert outbox.add(shot())
    stack.set("detector", "SOURCE", "/dev/video99")
    stack.start("edge-broker")  # and no cloud
    stack.launch("detector")
    until(lambda: stack.ended("detector") == 1, 45)
    assert waiting(stack) == 1
