"""Visits: who is followed, which shots are published, and in which order pictures count as good."""

from datetime import UTC, datetime, timedelta
from typing import Any

import cv2
import numpy as np
import pytest
from cv2.typing import MatLike

from demo.sample import carried
from detector.eye.camera import Frame
from detector.eye.faces import Face, Faces, model_path
from detector.eye.quality import quality
from detector.eye.visits import MAX_SHOTS, Visits
from detector.settings import Settings
from detector.shot import Shot

BEGIN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ROOM = np.random.default_rng(1).integers(0, 255, (480, 640, 3), np.uint8)


def face(x: float, y: float = 200, w: int = 80, score: float = 0.9) -> Face:
    """A frontal face whose middle is at `x`, `y`."""
    left, top = int(x - w / 2), int(y - w / 2)
    eyes_nose_mouth = [[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]]
    marks = np.array(eyes_nose_mouth, np.float32) * w + np.array([left, top])
    return Face((left, top, w, w), score, marks)


class Room:
    """A camera at `fps`; who is in the picture is told frame by frame."""

    def __init__(self, fps: float = 5, **settings: Any) -> None:
        self.visits = Visits(Settings(edge="e", source="clip.avi", **settings))
        self.t = 0.0
        self.fps = fps
        self.shots: list[Shot] = []

    def see(self, *faces: Face) -> list[Shot]:
        frame = Frame(ROOM, BEGIN + timedelta(seconds=self.t), self.t)
        new = self.visits.see(frame, list(faces))
        self.t += 1 / self.fps
        self.shots += new
        return new

    def stay(self, seconds: float, *faces: Face) -> list[Shot]:
        return [shot for _ in range(round(seconds * self.fps)) for shot in self.see(*faces)]

    def end(self) -> list[Shot]:
        new = self.visits.end()
        self.shots += new
        return new

    def told(self) -> list[tuple[str, int]]:
        """Visit (a letter by order of its first shot) and number of each shot."""
        names = list(dict.fromkeys(shot.visit for shot in self.shots))
        return [("abcdefgh"[names.index(shot.visit)], shot.number) for shot in self.shots]


@pytest.fixture(params=[3, 5, 30])
def room(request: pytest.FixtureRequest) -> Room:
    return Room(request.param)


def test_a_visit_has_its_first_shot_after_a_second(room: Room) -> None:
    assert room.stay(0.9, face(300)) == []
    (shot,) = room.stay(0.7, face(300))
    assert shot.number == 1
    assert not shot.final


def test_a_short_visit_has_its_shot_at_its_end() -> None:
    room = Room(10)
    assert room.stay(0.5, face(300)) == []
    (shot,) = room.stay(1.2)
    assert shot.final is True


def test_what_is_seen_twice_only_is_no_visit(room: Room) -> None:
    room.see(face(300))
    room.see(face(300))
    assert room.stay(2) == room.end() == []


def test_a_visit_is_over_a_second_after_the_last_sight(room: Room) -> None:
    room.stay(2, face(300))
    room.stay(2)
    room.stay(2, face(300))
    assert room.told() == [("a", 1), ("b", 1)]


def test_a_sight_that_fails_now_and_then_changes_nothing() -> None:
    room = Room(10)
    for number in range(60):
        room.see(*([] if number % 3 else [face(100 + 5 * number)]))
    room.end()
    assert {visit for visit, _ in room.told()} == {"a"}


def test_a_better_shot_follows_and_the_last_one_comes_at_the_end(room: Room) -> None:
    for width in range(40, 112, 2):
        room.stay(0.34, face(300, w=width))
    room.stay(2)
    shots = room.shots
    assert 2 <= len(shots) <= MAX_SHOTS
    assert [shot.number for shot in shots] == list(range(1, len(shots) + 1))
    assert shots[-1].final is True
    assert shots[-1].box[2] == 110
    assert [shot.quality for shot in shots] == sorted(shot.quality for shot in shots)
    assert len({shot.visit for shot in shots}) == 1


def test_a_shot_that_is_hardly_better_does_not_follow(room: Room) -> None:
    room.stay(3, face(300, score=0.80))
    room.stay(6, face(300, score=0.81))
    assert room.end() == []
    assert len(room.shots) == 1


def test_who_stays_is_captured_again_after_a_while() -> None:
    room = Room(5, repeat_s=60)
    room.stay(200, face(300))
    room.end()
    assert room.told() == [("a", 1), ("a", 2), ("a", 3), ("a", 4)]
    times = [(shot.captured_at - BEGIN).total_seconds() for shot in room.shots]
    assert all(abs(at - due) < 2 for at, due in zip(times, (0, 60, 120, 180), strict=True))


@pytest.mark.parametrize("fps", [5, 15, 30])
@pytest.mark.parametrize("crossing", [1.0, 2.0])
def test_two_who_pass_each_other_stay_two(fps: int, crossing: float) -> None:
    room = Room(fps)
    for number in range(int(4 * fps)):
        t = number / fps
        ways = (100 + 110 * t, 200.0, 90), (540 - 110 * t, 210.0, 70)
        hidden = (
            abs(t - crossing * 1.0) < 0.3 and crossing == 2.0
        )  # the nearer one hides the other for a while
        room.see(*(face(x, y, w) for x, y, w in (ways[:1] if hidden else ways)))
    room.end()
    widths: dict[str, set[int]] = {}
    for shot in room.shots:
        widths.setdefault(shot.visit, set()).add(shot.box[2])
    assert sorted(map(sorted, widths.values())) == [[70], [90]]


def test_someone_far_away_is_someone_else() -> None:
    room = Room(5)
    room.stay(2, face(100))
    room.stay(2, face(500))
    room.end()
    assert [visit for visit, _ in room.told()] == ["a", "b"]


@pytest.mark.parametrize("fps", [5, 30])
def test_who_hurries_through_is_one(fps: int) -> None:
    room = Room(fps)
    for number in range(int(1.2 * fps)):
        room.see(face(60 + 430 * number / fps))
    room.end()
    assert room.told() == [("a", 1)]


def test_a_filling_outbox_leaves_one_shot_the_best(caplog: pytest.LogCaptureFixture) -> None:
    room = Room(5)
    caplog.set_level("INFO")
    for _ in range(3):
        room.visits.limit(to_one=True)
    for width in range(40, 112, 2):
        room.stay(0.4, face(300, w=width))
    room.stay(2)
    assert [shot.box[2] for shot in room.shots] == [110]
    room.visits.limit(to_one=False)
    assert [record.message for record in caplog.records] == ["outbox fills", "outbox has room"]
    room.stay(2, face(300))
    assert len(room.shots) == 2


def test_every_sight_is_a_visit_when_asked() -> None:
    room = Room(5, mode="every")
    room.stay(1, face(100), face(500))
    assert room.end() == []
    assert len({shot.visit for shot in room.shots}) == len(room.shots) == 10
    assert {shot.number for shot in room.shots} == {1}


def decoded(shot: Shot) -> MatLike:
    picture = cv2.imdecode(np.frombuffer(shot.png, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture


def test_a_shot_is_a_picture_of_its_own_with_its_facts() -> None:
    room = Room(5, mode="every", margin=0.5)
    (shot,) = room.see(face(300, w=80))
    assert (decoded(shot) == ROOM[120:280, 220:380]).all()
    assert shot.frame == (640, 480)
    (whole,) = Room(5, mode="every", save_frame=True).see(face(300))
    assert (decoded(whole) == ROOM).all()


def test_a_sight_is_kept_though_its_frame_is_used_again() -> None:
    room = Room(5, margin=0)
    picture = ROOM.copy()
    room.visits.see(Frame(picture, BEGIN, 0.0), [face(300)])
    picture[:] = 0
    room.t = 0.2
    (shot,) = room.stay(1.2, face(300, score=0.1))
    assert (decoded(shot) == ROOM[160:240, 260:340]).all()


@pytest.fixture(scope="module")
def faces() -> Faces:
    return Faces(model_path(None), min_face=16)


def judged(faces: Faces, picture: MatLike) -> float:
    return quality(picture, faces.find(picture)[0])


def within(picture: MatLike, size: tuple[int, int] = (640, 480)) -> MatLike:
    room = np.full((size[1], size[0], 3), 90, np.uint8)
    room[: picture.shape[0], 100 : 100 + picture.shape[1]] = picture[: size[1], : size[0] - 100]
    return room


def test_sharper_larger_and_whole_faces_are_better(faces: Faces) -> None:
    person = carried("skimage", "astronaut.png")[:400, 50:450]
    blurred = [
        judged(faces, within(cv2.GaussianBlur(person, (0, 0), s) if s else person))
        for s in (0, 1.5, 3, 5)
    ]
    assert blurred == sorted(blurred, reverse=True)
    assert blurred[0] > 1.3 * blurred[-1]
    small = [
        judged(faces, within(cv2.resize(person, None, fx=f, fy=f))) for f in (1, 0.7, 0.5, 0.35)
    ]
    assert small == sorted(small, reverse=True)
    cut = within(person)[:, 100 + 150 :]
    assert judged(faces, cut) < 0.5 * blurred[0]


def test_noise_does_not_make_a_blurred_face_sharp(faces: Faces) -> None:
    person = within(carried("skimage", "astronaut.png")[:400, 50:450])
    noise = np.random.default_rng(1).normal(0, 5, person.shape)
    noisy = np.clip(cv2.GaussianBlur(person, (0, 0), 5) + noise, 0, 255).astype(np.uint8)
    assert judged(faces, noisy) < judged(faces, person)


def test_a_face_that_turns_away_gets_worse() -> None:
    picture = np.random.default_rng(1).integers(0, 255, (200, 200, 3), np.uint8)
    seen = []
    for turn in (0, 0.1, 0.2, 0.3):
        turned = face(100, 100)
        turned.landmarks[2, 0] += turn * 80
        seen.append(quality(picture, turned))
    assert seen == sorted(seen, reverse=True)
    assert seen[0] > seen[-1] + 0.1


@pytest.mark.parametrize("gap", [1.3, 3, 60, 3600])
def test_who_comes_after_a_gap_in_the_frames_is_someone_else(room: Room, gap: float) -> None:
    room.stay(2, face(300, score=0.99))
    room.t += gap
    room.stay(2, face(310, score=0.8))
    room.end()
    assert [visit for visit, _ in room.told()] == ["a", "b"]


def test_a_slow_camera_has_visits_too() -> None:
    room = Room(0.5, detect_fps=0.5)
    room.stay(12, face(300))
    room.end()
    assert {visit for visit, _ in room.told()} == {"a"}
