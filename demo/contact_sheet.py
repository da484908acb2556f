"""A contact sheet: every picture and its facts, read back from the bucket, in one HTML file."""

import base64
import html
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MOST = 500  # faces on a sheet
_STYLE = """
body { font: 14px system-ui; margin: 2em; background: #fafafa }
main { display: flex; flex-wrap: wrap; gap: 1em }
figure { margin: 0; padding: .6em; background: #fff; border: 1px solid #ddd; width: 170px }
img { width: 100%; height: 200px; object-fit: contain; background: #eee }
figcaption { font-size: 11px; color: #444; overflow-wrap: anywhere }
b { font-size: 13px }
"""
_FIGURE = """
<figure>
<img alt="face" src="data:image/png;base64,{picture}">
<figcaption>
<b>{edge}/{camera} #{seq}</b><br>
{captured_at}<br>
score {score}, quality {quality}<br>
visit {visit}, shot {shot}{last}<br>
box {box} of {frame}
</figcaption>
</figure>
"""
_PAGE = """<!doctype html>
<meta charset="utf-8">
<title>Facebridge</title>
<style>{style}</style>
<h1>{title}</h1>
<main>{figures}</main>
"""


@dataclass(frozen=True)
class _Face:
    visit: str
    quality: float
    figure: str


def write(file: Path, s3: Any, bucket: str) -> Counter[str]:
    """Write a sheet of the newest faces of a bucket by visit, best first.

    What is returned is how many of its pictures each visit has.
    """
    keys = _keys(s3, bucket)
    faces = [_read(s3, bucket, key) for key in keys[-MOST:]]
    faces.sort(key=lambda face: (face.visit, -face.quality))
    title = f"{len(keys)} faces in the bucket"
    if len(keys) > MOST:
        title += f", the newest {MOST} shown"
    figures = "".join(face.figure for face in faces)
    file.write_text(_PAGE.format(style=_STYLE, title=title, figures=figures))
    return Counter(face.visit for face in faces)


def _keys(s3: Any, bucket: str) -> list[str]:
    keys = []
    lister = s3.get_paginator("list_objects_v2")
    for page in lister.paginate(Bucket=bucket, Prefix="faces/"):
        keys += [item["Key"] for item in page.get("Contents", ())]
    return sorted(keys)


def _read(s3: Any, bucket: str, key: str) -> _Face:
    got = s3.get_object(Bucket=bucket, Key=key)
    facts = {name: html.escape(value) for name, value in got["Metadata"].items()}
    last = ""
    if "final" in facts:
        last = ", the last"
    picture = base64.b64encode(got["Body"].read()).decode()
    figure = _FIGURE.format_map({**facts, "picture": picture, "last": last})
    return _Face(facts["visit"], quality=float(facts["quality"]), figure=figure)
