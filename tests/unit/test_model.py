"""The guarantee, searched for holes: the real outbox, delivery and intake.

Brokers, link and store are models that may crash, forget, repeat, reorder and spoil at any step.
Whatever happens, a committed capture is waiting in the outbox or is in the store, once; and when
everything works again, all of it drains.
"""

import json
import shutil
import tempfile
import threading
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bus.capture import Capture
from bus.message import Down, Event, Message, Up
from bus.topics import LINK, CameraId
from detector import congestion, delivery
from detector.delivery import REFUSALS, Delivery
from detector.outbox import Outbox
from processor.intake import Intake
from processor.trouble import StoppedError, UnlikeError
from tests.support.captures import png, shot

WINDOW = 6
SIZE = 80  # bytes of about one picture
PARTS = ["detector", "power", "edge broker", "cloud broker", "link"]
FACE_FATES = ["", "", "", "", "before", "after", "twice", "lost", "spoilt"]
RECEIPT_FATES = ["", "", "", "lost", "twice", "other"]
DAY_MINUTES = 24 * 60


class Store:
    """A bucket with conditional puts.

    The caller may die `before` it stores, or `after`, before it says so.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.dies = ""

    def put(self, capture: Capture) -> bool:
        if self.dies == "before":
            raise StoppedError
        new = capture.key not in self.objects
        if not new and self.objects[capture.key] != capture.png:
            raise UnlikeError(capture.key)
        self.objects[capture.key] = capture.png
        if self.dies:
            raise StoppedError
        return new

    def quarantine(self, message: Message, reason: str) -> str:
        if self.dies:
            raise StoppedError
        return "quarantine/x"


class Wire:
    """What the intake says: receipts.

    Acknowledgements do not matter here, because nothing waits for them.
    """

    def __init__(self) -> None:
        self.said: list[Message] = []

    def publish(self, message: Message) -> None:
        self.said.append(message)

    def ack(self, message: Message) -> None:
        pass


class World(RuleBasedStateMachine):
    """Faces go edge -> cloud -> store, receipts go back the same way; four queues in between."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.narrow = ExitStack()  # with windows in which the model's small pictures find no room
        self.narrow.enter_context(patch.object(congestion, "FIRST_BYTES", 3 * SIZE))
        self.narrow.enter_context(patch.object(congestion, "LEAST_BYTES", SIZE))
        self.narrow.enter_context(patch.object(congestion, "MOST_BYTES", 40 * SIZE))
        self.narrow.enter_context(patch.object(delivery, "REORDER", 2))
        self.now = 1000.0
        self.link = True
        self.up = False
        self.committed: dict[int, Capture] = {}
        self.spoilt: dict[int, int] = {}
        self.edge_out: list[Message] = []
        self.cloud_out: list[Message] = []
        self.cloud_back: list[Message] = []
        self.edge_back: list[Message] = []
        self.store = Store()
        self.wire = Wire()
        self.intake = Intake(
            self.wire,  # type: ignore[arg-type]
            self.store,  # type: ignore[arg-type]
            threads=1,
            stop=threading.Event(),
        )
        self.start()
        self.connect(Up(session_present=False))
        self.capture(3)  # most of what can go wrong needs something to go wrong with

    def start(self) -> None:
        self.outbox = Outbox(self.folder / "outbox.db", CameraId("edge-1", "door"))
        self.sync()
        self.delivery = Delivery(self.outbox, WINDOW)
        self.up = False

    def sync(self) -> None:
        """What the disk has for sure: all up to the last commit that waited for it."""
        for file in self.folder.glob("outbox.db*"):
            shutil.copy(file, self.folder / f"disk-{file.name}")

    def teardown(self) -> None:
        try:
            self.heal()
        finally:
            self.narrow.close()
            self.outbox.close()
            shutil.rmtree(self.folder)

    def step(self, event: Event | None = None) -> None:
        sent = self.delivery.step(event, self.now)
        assert self.up or not sent
        self.edge_out += sent
        assert len(self.delivery._in_flight) <= WINDOW

    def connect(self, event: Up) -> None:
        if self.up:
            self.up = False
            self.step(Down())
        self.up = True
        self.step(event)
        self.tell_link()

    def tell_link(self) -> None:
        """What the edge broker retains of its bridge."""
        self.step(Message(f"{LINK}/x/state", b"1" if self.link else b"0"))

    @rule(count=st.integers(1, 5))
    def capture(self, count: int) -> None:
        for _ in range(count):
            picture = png(filler=bytes(self.outbox.last_seq + 1))  # no two are alike
            capture = self.outbox.add(shot(png=picture))
            assert capture
            self.committed[capture.seq] = capture
        self.sync()
        self.step()

    @rule(seconds=st.sampled_from([0.1, 1, 2.5, 30, 4000]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.step()

    @rule(event=st.builds(Up, st.booleans()))
    def the_detector_connects(self, event: Up) -> None:
        self.connect(event)

    @rule(part=st.sampled_from(PARTS))
    def something_breaks(self, part: str) -> None:
        """A part is killed and loses what it held in memory; or the link changes."""
        match part:
            case "detector":
                self.outbox.close()
                self.start()
            case "power":
                self.lose_what_was_not_on_the_disk()
                self.start()
            case "edge broker":
                self.edge_out = []
                self.edge_back = []
                self.up = False
                self.step(Down())
            case "cloud broker":
                self.cloud_out = []
                self.cloud_back = []
            case "link":
                self.link = not self.link
                if self.up:
                    self.tell_link()

    def lose_what_was_not_on_the_disk(self) -> None:
        self.outbox.close()
        for file in self.folder.glob("disk-*"):
            file.replace(self.folder / file.name.removeprefix("disk-"))

    @rule(
        fates=st.lists(
            st.tuples(st.sampled_from(FACE_FATES), st.integers(0, 9)), min_size=1, max_size=12
        )
    )
    def faces_travel(self, fates: list[tuple[str, int]]) -> None:
        """Some of the faces on their way reach the processor, in any order, each with its fate."""
        if self.link:
            self.faces_cross()
        for fate, number in fates[: len(self.cloud_out)]:
            message = self.cloud_out.pop(number % len(self.cloud_out))
            match fate:
                case "lost":
                    continue
                case "spoilt":
                    self.process(self.spoil(message))
                case "twice":
                    self.process(message)
                    self.process(message)
                case _:
                    self.process(message, dies=fate)

    def spoil(self, message: Message) -> Message:
        seq = int(dict(message.properties)["seq"])
        self.spoilt[seq] = self.spoilt.get(seq, 0) + 1
        return replace(message, payload=message.payload + b"!")

    @rule(fates=st.lists(st.tuples(st.sampled_from(RECEIPT_FATES), st.integers(0, 9)), min_size=1))
    def receipts_travel(self, fates: list[tuple[str, int]]) -> None:
        """Some of the receipts on their way come home, in any order."""
        if self.link:
            self.receipts_cross()
        if not self.up:
            return
        for fate, number in fates[: len(self.edge_back)]:
            message = self.edge_back.pop(number % len(self.edge_back))
            match fate:
                case "lost":
                    continue
                case "twice":
                    self.step(message)
                    self.step(message)
                case "other":
                    self.step(self.of_another_outbox(message))
                case _:
                    self.step(message)

    def of_another_outbox(self, message: Message) -> Message:
        """The receipt of another capture that had this seq, in an outbox that is no more."""
        fields = json.loads(message.payload)
        fields["seq"] = 1 + fields["seq"] * 7 % (self.outbox.last_seq + 1)
        return replace(message, payload=json.dumps(fields).encode())

    def faces_cross(self) -> None:
        self.cloud_out += self.edge_out
        self.edge_out = []

    def receipts_cross(self) -> None:
        self.edge_back += self.cloud_back
        self.cloud_back = []

    def process(self, message: Message, dies: str = "") -> None:
        self.store.dies = dies
        with suppress(StoppedError):
            self.intake.handle(message)
        self.cloud_back += self.wire.said
        self.wire.said = []

    @invariant()
    def nothing_is_lost_or_twice(self) -> None:
        for seq, capture in self.committed.items():
            stored = [key for key in self.store.objects if key.endswith(f"-{seq:09d}.png")]
            assert stored in ([], [capture.key])
            if stored:
                assert self.store.objects[capture.key] == capture.png
            elif self.outbox.get(seq) is None:
                assert self.spoilt.get(seq, 0) >= REFUSALS, f"{seq} is nowhere"

    def heal(self) -> None:
        """Everything works from now on; within a simulated day nothing waits any more."""
        self.link = True
        if not self.up:
            self.connect(Up(session_present=False))
        self.tell_link()
        for _ in range(DAY_MINUTES):
            self.faces_cross()
            while self.cloud_out:
                self.process(self.cloud_out.pop(0))
            self.receipts_cross()
            while self.edge_back:
                self.step(self.edge_back.pop(0))
            if not self.outbox.waiting:
                break
            self.now += 60
            self.step()
        assert self.outbox.waiting == 0
        self.nothing_is_lost_or_twice()


TestWorld = World.TestCase
TestWorld.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
