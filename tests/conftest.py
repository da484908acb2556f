"""What every test may ask for."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.stack import Stack


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """The whole system as processes, for one test alone; nothing is started yet."""
    with Stack(tmp_path / "run") as stack:
        yield stack
