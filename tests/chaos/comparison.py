"""Every commit of an outbox against the bucket: there once, with its bytes, or explained."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from bus.topics import CameraId
from demo.stack import BUCKET
from detector.outbox_reader import Gap
from tests.chaos.outcome import Outcome

READERS = 8  # objects that are read at the same time
CHUNK = 65536  # bytes


class Version(NamedTuple):
    """One version of one object; a bucket without versions has one of each."""

    key: str
    version: str

    @property
    def seq(self) -> int:
        """That of the capture which it holds."""
        return int(self.key[-13:-4])


def compare(
    outcome: Outcome,
    *,
    committed: list[tuple[int, str]],
    explained: list[Gap],
    camera_id: CameraId,
    s3: Any,
) -> None:
    """Count into `outcome` what became of a camera's commits; `explained` ones may be absent."""
    hashes: dict[int, str] = {}
    for seq, sha256 in committed:
        if hashes.setdefault(seq, sha256) != sha256:
            outcome.trouble = f"seq {seq} was given twice"
    excused = {seq for gap in explained for seq in range(gap.first, gap.last + 1)}
    there = stored_hashes(s3, camera_id)
    stored = {seq for seq, sha256 in hashes.items() if sha256 in there[seq]}
    absent = hashes.keys() - stored
    outcome.captured = len(hashes)
    outcome.stored = len(stored)
    outcome.lost = len(absent - excused)
    outcome.dropped = len(absent & excused)
    outcome.twice = sum(1 for copies in there.values() if len(copies) > 1)


def stored_hashes(s3: Any, camera_id: CameraId) -> defaultdict[int, list[str]]:
    """By seq, the hash of every version of every face of a camera."""
    hashes: defaultdict[int, list[str]] = defaultdict(list)
    with ThreadPoolExecutor(READERS) as pool:
        for page in _pages(s3, camera_id):
            found = pool.map(lambda version: _sha256(s3, version), page)
            for version, sha256 in zip(page, found, strict=True):
                hashes[version.seq].append(sha256)
    return hashes


def _pages(s3: Any, camera_id: CameraId) -> Iterator[list[Version]]:
    pages = s3.get_paginator("list_object_versions")
    for page in pages.paginate(Bucket=BUCKET, Prefix=f"faces/{camera_id}/"):
        yield [Version(item["Key"], item["VersionId"]) for item in page.get("Versions", ())]


def _sha256(s3: Any, version: Version) -> str:
    got = s3.get_object(Bucket=BUCKET, Key=version.key, VersionId=version.version)
    digest = hashlib.sha256()
    for chunk in got["Body"].iter_chunks(CHUNK):
        digest.update(chunk)
    return digest.hexdigest()
