"""A room that people walk through: what a camera sees of it, and where each face is."""

from dataclasses import dataclass

import cv2
import numpy as np
from cv2.typing import MatLike

from demo.people import Person, carried, person
from demo.scene import Decoy, Scene, Visit

Box = tuple[float, float, float, float]  # x, y, w, h in pixels, also beyond the frame

_NOBODY = -1
_FLICKER = 0.04  # the light of a room is never still
_FRAME_GREY = 30  # of 255: the frame of a picture on the wall
_FRAME_PX = 4
_PORTRAIT_END = 0.97  # share of a portrait's height above its lower edge
_HIGHEST = 0.4  # share of the picture's height above which no face is
_BOB = 0.006  # of the picture's width: how far a head moves up and down
_TURN_DEGREES = 6
_BLUR_WIDTH = 640  # pixels of a frame for which a visit's blur is given


@dataclass(frozen=True)
class Sight:
    """Where a face is, in pixels to one decimal, and the share of it that can be seen (0 to 1)."""

    box: Box
    share: float


@dataclass(frozen=True)
class View:
    """What is to be seen (BGR, h x w x 3, uint8), and the sight of each visit by its number."""

    picture: MatLike
    sights: dict[int, Sight]


class Room:
    """A scene's room; `decoys` are the boxes of the pictures on its wall, x, y, w, h in pixels."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        brick = cv2.resize(carried("skimage", "brick.png"), (scene.width, scene.height))
        self._wall = cv2.convertScaleAbs(brick, alpha=scene.wall * scene.light)
        self.decoys = []
        for decoy in scene.decoys:
            box = self._hang(decoy)
            self.decoys.append(box)

    def look(self, at: float) -> View:
        """What is to be seen at a time in seconds."""
        picture = cv2.convertScaleAbs(self._wall, alpha=1 + _FLICKER * np.sin(at))
        canvas = _Canvas(picture, owner=np.full(picture.shape[:2], _NOBODY, np.int8))
        boxes = {}
        for number in self._present(at):
            visit = self._scene.visits[number]
            pose = _pose(visit, at, number=number, size=canvas.size)
            canvas.paint(pose, number=number, light=visit.light * self._scene.light)
            boxes[number] = pose.face
        sights = {}
        for number, box in boxes.items():
            x, y, w, h = box
            rounded = (round(x, 1), round(y, 1), round(w, 1), round(h, 1))
            sights[number] = Sight(rounded, share=round(canvas.share(number, box), 2))
        return View(picture, sights)

    def _present(self, at: float) -> list[int]:
        """The visits under way, the nearer ones last, for they are in front."""
        visits = self._scene.visits
        present = [number for number, visit in enumerate(visits) if visit.is_on(at)]
        return sorted(present, key=lambda number: visits[number].width(at))

    def _hang(self, decoy: Decoy) -> list[int]:
        """Put a picture on the wall; its box."""
        poster = carried("skimage", decoy.file)
        left = round(decoy.x * self._scene.width)
        top = round(decoy.y * self._scene.width)
        wide = round(decoy.width * self._scene.width)
        tall = round(wide * poster.shape[0] / poster.shape[1])
        rows = slice(top - _FRAME_PX, top + tall + _FRAME_PX)
        columns = slice(left - _FRAME_PX, left + wide + _FRAME_PX)
        self._wall[rows, columns] = round(_FRAME_GREY * self._scene.light)
        poster = cv2.resize(poster, (wide, tall), interpolation=cv2.INTER_AREA)
        poster = cv2.convertScaleAbs(poster, alpha=self._scene.light)
        self._wall[top : top + tall, left : left + wide] = poster
        return [left, top, wide, tall]


@dataclass(frozen=True)
class _Pose:
    """How a person stands.

    `way` is the affine map (2 x 3) from portrait to picture, `face` the box of the face in the
    picture, `smear` the length of the motion's blur in pixels.
    """

    person: Person
    way: MatLike
    face: Box
    smear: int

    def corners(self) -> MatLike:
        """Where the corners of the portrait are: 2 x 4 pixels."""
        tall, wide = self.person.alpha.shape
        xs = (0, wide, 0, wide)
        ys = (0, 0, tall, tall)
        corners: MatLike = self.way @ [xs, ys, (1, 1, 1, 1)]
        return corners


def _pose(visit: Visit, at: float, *, number: int, size: tuple[int, int]) -> _Pose:
    """The pose in a visit at a time, in a picture of a size in pixels.

    The visit's number sets people's steps apart.
    """
    width, height = size
    one = person(visit.person)
    x, y, w, h = one.box
    middle = (x + w / 2, y + h / 2)
    scale = width * visit.width(at) / w
    bob = width * _BOB * np.sin(at * 9 + number)
    turn = _TURN_DEGREES * np.sin(at * 1.7 + number)
    # A portrait ends at the picture's lower edge, unless the face would be too high then.
    below_face = (one.picture.shape[0] * _PORTRAIT_END - y - h / 2) * scale
    middle_y = max(height - below_face, height * _HIGHEST) + bob
    right = width * visit.middle(at) - x - w / 2
    down = middle_y - y - h / 2
    way = cv2.getRotationMatrix2D(middle, turn, scale)
    way[:, 2] += np.array([right, down])
    face_x, face_y = way @ (*middle, 1)
    face_w = w * scale
    face_h = h * scale
    box = (face_x - face_w / 2, face_y - face_h / 2, face_w, face_h)
    return _Pose(one, way, face=box, smear=round(visit.blur * width / _BLUR_WIDTH))


@dataclass(frozen=True)
class _Canvas:
    """A picture being painted (BGR, h x w x 3, uint8), and the visit that each pixel shows."""

    picture: MatLike
    owner: MatLike

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        height, width = self.picture.shape[:2]
        return width, height

    def paint(self, pose: _Pose, *, number: int, light: float) -> None:
        """Put a person in front of what is there, cut off by the picture's edges."""
        corners = pose.corners()
        first = corners.min(axis=1).astype(int) - pose.smear - 1
        last = corners.max(axis=1).astype(int) + pose.smear + 2
        left, top = np.maximum(first, 0)
        right, bottom = np.minimum(last, self.size)
        if left >= right or top >= bottom:
            return
        way = pose.way.copy()
        way[:, 2] -= (left, top)  # only the part of the picture in which the person is
        size = (int(right - left), int(bottom - top))
        body = cv2.warpAffine(pose.person.picture, way, size)
        body = cv2.convertScaleAbs(body, alpha=light)
        alpha = cv2.warpAffine(pose.person.alpha, way, size)
        if pose.smear:
            body = cv2.blur(body, (pose.smear, 1))
            alpha = cv2.blur(alpha, (pose.smear, 1))
        part = np.s_[top:bottom, left:right]
        self.picture[part] = cv2.blendLinear(body, self.picture[part], alpha, 1 - alpha)
        self.owner[part][alpha > 0.5] = number

    def share(self, number: int, box: Box) -> float:
        """How much of a box shows the person of a visit, 0 to 1."""
        x, y, w, h = box
        left = max(int(x), 0)
        top = max(int(y), 0)
        right = max(int(x + w), 0)
        bottom = max(int(y + h), 0)
        inside = self.owner[top:bottom, left:right]
        return float((inside == number).sum() / (w * h))
