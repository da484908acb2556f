"""Who is served, in which order, and what is shed."""

from bus.message import Message
from processor.allowance import Allowance
from processor.fair_queue import EDGE_BYTES, EDGE_MESSAGES, TOTAL_BYTES, FairQueue


def message(edge: str, size: int = 1) -> Message:
    return Message(f"face-detector/{edge}/door", bytes(size))


def fill(queue: FairQueue, edge: str, count: int, size: int = 1) -> list[Message]:
    """Offers so many; what was shed."""
    shed = []
    for _ in range(count):
        shed += queue.offer(edge, message(edge, size))
    return shed


def served(queue: FairQueue, count: int) -> list[str]:
    edges = []
    for _ in range(count):
        taken = queue.take(0)
        assert taken
        edges.append(taken[0])
        queue.done(taken[0])
    return edges


def test_edges_are_served_in_turn() -> None:
    queue = FairQueue(busy_at_most=6)
    fill(queue, "a", 100)
    fill(queue, "b", 2)
    assert served(queue, 6) == ["a", "b", "a", "b", "a", "a"]


def test_nothing_waiting_is_nothing_taken() -> None:
    queue = FairQueue(busy_at_most=6)
    assert queue.take(0) is None
    fill(queue, "a", 1)
    assert served(queue, 1) == ["a"]
    assert queue.take(0) is None
    assert queue.size == 0


def test_what_is_beyond_an_edges_messages_is_shed() -> None:
    queue = FairQueue(busy_at_most=6)
    assert len(fill(queue, "a", EDGE_MESSAGES + 3)) == 3
    assert fill(queue, "b", 1) == []


def test_what_is_beyond_an_edges_bytes_is_shed() -> None:
    queue = FairQueue(busy_at_most=6)
    assert len(fill(queue, "a", 3, size=EDGE_BYTES // 2)) == 1
    assert fill(queue, "b", 1, size=EDGE_BYTES) == []


def test_properties_count_too() -> None:
    queue = FairQueue(busy_at_most=6)
    heavy = Message("face-detector/a/door", b"", properties=(("x", "y" * EDGE_BYTES),))
    assert queue.offer("a", heavy) == [heavy]


def test_beyond_all_budgets_the_largest_edge_gives_way() -> None:
    queue = FairQueue(busy_at_most=6)
    for number in range(4):
        assert fill(queue, f"edge-{number}", 1, size=TOTAL_BYTES // 4) == []
    assert fill(queue, "late", 1) != []
    assert fill(queue, "late", 10) == []
    assert queue.size <= TOTAL_BYTES


def test_one_edge_never_has_all_hands() -> None:
    queue = FairQueue(busy_at_most=6)
    fill(queue, "a", 100)
    assert [queue.take(0) is not None for _ in range(7)] == [True] * 6 + [False]
    fill(queue, "b", 1)
    taken = queue.take(0)
    assert taken
    assert taken[0] == "b"
    queue.done("a")
    assert queue.take(0)


def test_an_allowance_is_by_edge_and_comes_back() -> None:
    now = [0.0]
    allowance = Allowance(3, period_s=60, clock=lambda: now[0])
    assert [allowance.take("a") for _ in range(4)] == [True, True, True, False]
    assert allowance.take("b")
    now[0] += 21
    assert [allowance.take("a") for _ in range(2)] == [True, False]
    now[0] += 3600
    assert [allowance.take("a") for _ in range(4)] == [True, True, True, False]
