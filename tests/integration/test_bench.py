"""The detector's benchmark can fail: what is not so is named, and ends it with 1."""

import json
from pathlib import Path
from typing import Any

import pytest

from demo.sample import Clip, make
from demo.scene import Scene, Visit
from tests.bench.detector import main
from tests.bench.run import Published, Run
from tests.bench.tally import Tally
from tests.bench.truth import Sight, Truth


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    scene = Scene((Visit(0.2, 3, 0, (0.1, 0.8), (0.15, 0.17)),), fps=5, seconds=3.6)
    return make(tmp_path_factory.mktemp("bench"), 1, scene)


@pytest.fixture
def truth(clip: Clip) -> Any:
    return json.loads(clip.truth.read_text())


def bench(clip: Clip, truth: Any, folder: Path) -> tuple[int, Path]:
    file = folder / "truth.json"
    file.write_text(json.dumps(truth))
    report = folder / "report.md"
    code = main(["--source", str(clip.video), "--truth", str(file), "--report", str(report)])
    return code, report


def test_what_is_so_is_found(clip: Clip, truth: Any, tmp_path: Path) -> None:
    _, report = bench(clip, truth, tmp_path)
    assert "| all visits found | 1 of 1 | met |" in report.read_text()
    assert "| no wrong crops | 0 | met |" in report.read_text()
    assert "data:image/jpeg" in report.with_suffix(".html").read_text()
    assert report.with_suffix(".png").stat().st_size > 1000


def test_a_visit_that_nobody_saw_is_missed(
    clip: Clip, truth: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = [[number, 600, 10, 30, 40, 1] for number in range(10)]
    truth["visits"].append({"visit": 1, "frames": frames})
    assert bench(clip, truth, tmp_path)[0] == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("missed: ")
    assert "all visits found: 1 of 2" in last


def test_a_capture_of_nobody_is_wrong(
    clip: Clip, truth: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for sight in truth["visits"][0]["frames"]:
        sight[2] -= 200
    assert bench(clip, truth, tmp_path)[0] == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert "no wrong crops: " in last
    assert "all visits found: 0 of 1" in last


def run_of(sights: dict[int, dict[int, Sight]], published: list[Published]) -> Run:
    """A run in which every published face was found."""
    hits = {(one.whose, one.number) for one in published if one.whose is not None}
    return Run("", 0, path=Path(), truth=Truth(5, sights), hits=hits, published=published)


def test_splits_and_swaps_are_counted() -> None:
    def tally(*shots: tuple[str, int]) -> tuple[int, int]:
        published = []
        for number, (visit, whose) in enumerate(shots):
            published.append(Published(number, whose, visit=visit, quality=0.5))
        sights = {number: Sight(0, 0, 9, 9, share=1) for number in range(3)}
        counted = Tally([run_of({0: sights, 1: sights}, published)])
        return counted.split, counted.swapped

    assert tally(("a", 0), ("a", 0), ("b", 1)) == (0, 0)
    assert tally(("a", 0), ("b", 0), ("c", 1)) == (1, 0)
    assert tally(("a", 0), ("a", 1)) == (0, 1)


def test_a_face_behind_another_is_no_good_shot() -> None:
    sights = {0: Sight(0, 0, 9, 9, share=1), 1: Sight(0, 0, 9, 9, share=0.6)}
    whole = Published(0, 0, visit="a", quality=0.5)
    covered = Published(1, 0, visit="a", quality=0.8)
    run = run_of({0: sights}, [whole, covered])
    assert Tally([run]).covered == 1
    run.published.remove(covered)
    assert Tally([run]).covered == 0


def test_a_truth_that_is_none_is_refused(clip: Clip, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="not what they should be"):
        bench(clip, {"fps": 5}, tmp_path)
