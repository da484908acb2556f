"""The published shots, to look at: one self-contained page, and one picture."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from cv2.typing import MatLike

from tests.bench.run import Published, Run

MOST = 1000  # shots in all: a page of some 7 MB
_SIDE_PX = 160  # of a shot in the page
_CELL_PX = 110  # of a shot in the picture
_CAPTION_PX = 28  # below it
_LINE_PX = 13
_COLUMNS = 12
_JPEG_QUALITY = 85
_GREY = 40  # of 255, behind the shots
_WHITE = (255, 255, 255)
_RED = (60, 60, 255)
_STYLE = """
body { font: 14px system-ui; margin: 2em; background: #fafafa }
main { display: flex; flex-wrap: wrap; gap: 1em }
figure { margin: 0; padding: .5em; background: #fff; border: 1px solid #ddd; width: 160px }
.nobody { background: #fbb }
img { width: 100%; height: 160px; object-fit: contain; background: #eee }
figcaption { font-size: 11px; color: #444 }
"""
_HEAD = f"""<!doctype html>
<meta charset="utf-8">
<title>Shots</title>
<style>{_STYLE}</style>
"""


def write(file: Path, runs: Sequence[Run]) -> None:
    """The page, and beside it the picture (.png), by visit id, the best first.

    A * is final, what is nobody's is red.
    """
    page = [_HEAD]
    cells = []
    left = MOST
    for run in runs:
        shots = sorted(run.published, key=lambda shot: (shot.visit, -shot.quality))[:left]
        left -= len(shots)
        page.append(_section(run, shots))
        cells.append(_title_cell(run))
        cells += [_shot_cell(shot) for shot in shots]
    if not left:
        page.append(f"<p>Only the first {MOST} shots.</p>")
    file.write_text("".join(page))
    cv2.imwrite(str(file.with_suffix(".png")), _tiled(cells))


def _section(run: Run, shots: Sequence[Published]) -> str:
    title = f"<h2>{html.escape(run.scene)}, seed {run.seed}</h2>"
    figures = "".join(_figure(shot) for shot in shots)
    return f"{title}<main>{figures}</main>"


def _figure(shot: Published) -> str:
    quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    _, data = cv2.imencode(".jpg", _fitted(shot.png, _SIDE_PX), quality)
    text = base64.b64encode(data.tobytes()).decode()
    whose = _whose(shot)
    lines = [whose, f"quality {shot.quality:.2f}", shot.visit, f"shot {shot.shot}"]
    if shot.is_final:
        lines[-1] += ", final"
    return (
        f"<figure class={whose.split()[0]}>"
        f"<img alt=shot src='data:image/jpeg;base64,{text}'>"
        f"<figcaption>{'<br>'.join(lines)}</figcaption>"
        "</figure>"
    )


def _whose(shot: Published) -> str:
    if shot.whose is None:
        return "nobody"
    return f"visit {shot.whose}"


def _title_cell(run: Run) -> MatLike:
    cell = _empty_cell()
    _caption(cell, [run.scene, f"seed {run.seed}", f"{len(run.published)} shots"], _WHITE)
    return cell


def _shot_cell(shot: Published) -> MatLike:
    cell = _empty_cell()
    small = _fitted(shot.png, _CELL_PX)
    height, width = small.shape[:2]
    cell[:height, :width] = small
    name = f"{shot.visit[-7:]} #{shot.shot}"
    if shot.is_final:
        name += "*"
    colour = _WHITE
    if shot.whose is None:
        colour = _RED
    _caption(cell, [f"{_whose(shot)}, {shot.quality:.2f}", name], colour)
    return cell


def _empty_cell() -> MatLike:
    return np.full((_CELL_PX + _CAPTION_PX, _CELL_PX, 3), _GREY, np.uint8)


def _caption(cell: MatLike, lines: Sequence[str], colour: tuple[int, int, int]) -> None:
    """Write lines into a cell, the last at its lower edge."""
    lowest = _CELL_PX + _CAPTION_PX - 4
    for number, line in enumerate(reversed(lines)):
        cv2.putText(
            cell,
            line,
            org=(3, lowest - _LINE_PX * number),
            fontFace=cv2.FONT_HERSHEY_SIMPLEX,
            fontScale=0.37,
            color=colour,
            thickness=1,
            lineType=cv2.LINE_AA,
        )


def _tiled(cells: list[MatLike]) -> MatLike:
    missing = -len(cells) % _COLUMNS
    filled = [*cells, *([np.zeros_like(cells[0])] * missing)]
    rows = []
    for at in range(0, len(filled), _COLUMNS):
        rows.append(np.hstack(filled[at : at + _COLUMNS]))
    return np.vstack(rows)


def _fitted(png: bytes, side: int) -> MatLike:
    """The picture made so large that its longer side is `side` pixels."""
    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
