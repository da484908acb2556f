"""The sample clip: what its truth says is in the pictures."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import pytest
from cv2.typing import MatLike

from demo.sample import SCENE, SCENES, Clip, Scene, make, varied
from detector.eye.faces import Faces, model_path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return make(tmp_path_factory.mktemp("sample"))


def pictures(clip: Clip) -> list[MatLike]:
    video, found = cv2.VideoCapture(str(clip.video)), []
    while (got := video.read())[0]:
        found.append(got[1])
    return found


def test_every_visit_is_seen_and_nothing_else(clip: Clip) -> None:
    truth: dict[str, Any] = json.loads(clip.truth.read_text())
    frames = pictures(clip)
    assert len(frames) == truth["fps"] * SCENE.seconds
    faces, hits = Faces(model_path(None)), dict.fromkeys(range(len(SCENE.visits)), 0)
    for number in range(0, len(frames), truth["fps"] // 5):
        boxes = {
            visit["visit"]: sight[1:5]
            for visit in truth["visits"]
            for sight in visit["frames"]
            if sight[0] == number
        }
        for face in faces.find(frames[number]):
            middle = (face.box[0] + face.box[2] / 2, face.box[1] + face.box[3] / 2)
            whose = [
                visit
                for visit, (x, y, w, h) in boxes.items()
                if x < middle[0] < x + w and y < middle[1] < y + h
            ]
            assert whose, f"frame {number}: {face.box} is nobody's"
            hits[whose[0]] += 1
    assert all(count >= 3 for count in hits.values()), hits
    assert sum(hits.values()) >= 60


def test_the_same_seed_makes_the_same_clip(tmp_path: Path) -> None:
    short = Scene(SCENE.visits[:1], seconds=1)
    one, two = make(tmp_path / "1", 3, short), make(tmp_path / "2", 3, short)
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
            ends = [visit.start + visit.seconds for visit in varied(scene, seed).visits]
            assert max(ends, default=0) < scene.seconds, (name, seed)
            assert min((visit.start for visit in varied(scene, seed).visits), default=0) >= 0


def test_nobody_is_seen_behind_the_nearer_one(tmp_path: Path) -> None:
    truth = json.loads(
        make(tmp_path, 1, replace(SCENES["behind"], width=320, height=240, fps=5)).truth.read_text()
    )
    nearer, passing, gone = ([sight[-1] for sight in visit["frames"]] for visit in truth["visits"])
    assert min(nearer[10:-15]) > 0.9
    assert min(passing[3:-3]) < 0.1 < passing[-5]
    assert gone[-1] < 0.1 < max(gone)
