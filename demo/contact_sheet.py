"""A contact sheet: every picture and its facts, read back from the bucket, in one HTML file."""

import base64
import html
from collections import Counter
from pathlib import Path
from typing import Any

_STYLE = """body{font:14px system-ui;margin:2em;background:#fafafa}main{display:flex;flex-wrap:wrap;gap:1em}
figure{margin:0;padding:.6em;background:#fff;border:1px solid #ddd;width:170px}img{width:100%;height:200px;
object-fit:contain;background:#eee}figcaption{font-size:11px;color:#444;word-break:break-all}b{font-size:13px}"""


def write(file: Path, s3: Any, bucket: str, most: int = 500) -> Counter[str]:
    """Write the sheet of the newest `most` faces to `file`, by visit, best first; how many pictures each visit has."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="faces/")
    keys = sorted(item["Key"] for page in pages for item in page.get("Contents", ()))
    figures: list[tuple[str, float, str]] = []
    for key in keys[-most:]:
        got = s3.get_object(Bucket=bucket, Key=key)
        picture = base64.b64encode(got["Body"].read()).decode()
        facts = {name: html.escape(value) for name, value in got["Metadata"].items()}
        last = ", the last" if "final" in facts else ""
        text = (
            f"<figure><img alt='face' src='data:image/png;base64,{picture}'><figcaption><b>{facts['edge']}/"
            f"{facts['camera']} #{facts['seq']}</b><br>{facts['captured_at']}<br>score {facts['score']}, "
            f"quality {facts['quality']}<br>visit {facts['visit']}, shot {facts['shot']}{last}<br>"
            f"box {facts['box']} of {facts['frame']}</figcaption></figure>"
        )
        figures.append((facts["visit"], -float(facts["quality"]), text))
    head = f"<!doctype html><meta charset=utf-8><title>Facebridge</title><style>{_STYLE}</style>"
    shown = f", the newest {most} shown" if len(keys) > most else ""
    body = "".join(text for _, _, text in sorted(figures))
    file.write_text(f"{head}<h1>{len(keys)} faces in the bucket{shown}</h1><main>{body}</main>")
    return Counter(visit for visit, _, _ in figures)
