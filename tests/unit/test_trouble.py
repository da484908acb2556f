"""How long a store may fail before edges had better try another cell."""

from botocore.exceptions import ClientError, EndpointConnectionError

from processor.trouble import AWAY, NO, WEDGED_AFTER_S, Trouble

REFUSAL = ClientError(
    {"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}},
    "PutObject",
)
SILENCE = EndpointConnectionError(endpoint_url="http://store")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_store_that_refuses_us_wedges_the_cell_soon() -> None:
    clock = Clock()
    trouble = Trouble(clock)
    trouble.note(REFUSAL)
    clock.now += WEDGED_AFTER_S[NO] - 1
    trouble.note(REFUSAL)
    assert trouble.wedged() == ""
    clock.now += 2
    assert trouble.wedged().startswith(NO)


def test_a_store_that_is_away_sends_no_edge_around_for_a_long_while() -> None:
    clock = Clock()
    trouble = Trouble(clock)
    trouble.note(SILENCE)
    clock.now += WEDGED_AFTER_S[AWAY] - 1
    assert trouble.wedged() == ""
    assert trouble.text.startswith(AWAY)
    clock.now += 2
    assert trouble.wedged().startswith(AWAY)


def test_an_answer_ends_it() -> None:
    clock = Clock()
    trouble = Trouble(clock)
    trouble.note(REFUSAL)
    trouble.over()
    clock.now += 10 * WEDGED_AFTER_S[NO]
    assert trouble.wedged() == trouble.text == ""
    trouble.note(REFUSAL)
    assert trouble.wedged() == ""
