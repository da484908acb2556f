"""The published shots, to look at: one self-contained page, and one picture."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from cv2.typing import MatLike

from tests.bench.judge import Run

MOST = 1000  # shots in all: a page of some 7 MB
SIDE, CELL, COLUMNS = (
    160,
    110,
    12,
)  # pixels of a shot in the page, and in the picture; shots in a row of it
_STYLE = """body{font:14px system-ui;margin:2em;background:#fafafa}main{display:flex;flex-wrap:wrap;gap:1em}
figure{margin:0;padding:.5em;background:#fff;border:1px solid #ddd;width:160px}.nobody{background:#fbb}
img{width:100%;height:160px;object-fit:contain;background:#eee}figcaption{font-size:11px;color:#444}"""


def write(file: Path, runs: Sequence[Run]) -> None:
    """The page, and beside it the picture (.png): by visit id, best first; * is final, what is nobody's is red."""
    parts, cells = (
        [f"<!doctype html><meta charset=utf-8><title>Shots</title><style>{_STYLE}</style>"],
        [],
    )
    left = MOST
    for run in runs:
        shots = sorted(run.published, key=lambda one: (one.facts["visit"], -one.facts["quality"]))[
            :left
        ]
        left -= len(shots)
        parts.append(f"<h2>{html.escape(run.scene)}, seed {run.seed}</h2><main>")
        cells.append(
            _cell(None, [run.scene, f"seed {run.seed}", f"{len(run.published)} shots"], 255)
        )
        for one in shots:
            picture, facts, final = one.picture, one.facts, "*" * one.facts.get("final", False)
            assert picture is not None
            whose = "nobody" if one.whose is None else f"visit {one.whose}"
            said = [
                f"{whose}, {facts['quality']:.2f}",
                f"{facts['visit'][-7:]} #{facts['shot']}{final}",
            ]
            data = cv2.imencode(".jpg", _fitted(picture, SIDE), [cv2.IMWRITE_JPEG_QUALITY, 85])[
                1
            ].tobytes()
            parts.append(
                f"<figure class={whose.split()[0]}><img alt=shot src='data:image/jpeg;base64,"
                f"{base64.b64encode(data).decode()}'><figcaption>{whose}<br>quality {facts['quality']:.2f}<br>"
                f"{facts['visit']}<br>shot {facts['shot']}{', final' * bool(final)}</figcaption></figure>"
            )
            cells.append(_cell(picture, said, 60 if one.whose is None else 255))
        parts.append("</main>")
    if not left:
        parts.append(f"<p>Only the first {MOST} shots.</p>")
    file.write_text("".join(parts))
    cells += [np.zeros_like(cells[0])] * (-len(cells) % COLUMNS)
    rows = [np.hstack(cells[at : at + COLUMNS]) for at in range(0, len(cells), COLUMNS)]
    cv2.imwrite(str(file.with_suffix(".png")), np.vstack(rows))


def _fitted(picture: MatLike, side: int) -> MatLike:
    scale = side / max(picture.shape[:2])
    size = (max(round(picture.shape[1] * scale), 1), max(round(picture.shape[0] * scale), 1))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _cell(picture: MatLike | None, lines: Sequence[str], bright: int) -> MatLike:
    cell = np.full((CELL + 28, CELL, 3), 40, np.uint8)
    if picture is not None:
        small = _fitted(picture, CELL)
        cell[: small.shape[0], : small.shape[1]] = small
    for number, line in enumerate(reversed(lines)):
        where = (3, CELL + 24 - 13 * number)
        cv2.putText(
            cell, line, where, cv2.FONT_HERSHEY_SIMPLEX, 0.37, (bright, bright, 255), 1, cv2.LINE_AA
        )
    return cell
