"""What a bucket alone tells of the cameras in it: gaps and doubles, by seq."""

from typing import Any

from pyroaring import BitMap
from rich.progress import Progress

from audit.bucket import Bucket, seq_of
from audit.findings import Findings
from bus.topics import CameraId, is_name

_ROOTS = ("faces/", "quarantine/")
_NAMELESS = "_"  # in quarantine, where a bad message does not say whose it is


def audit_bucket(
    s3: Any,
    bucket: str,
    *,
    edge: str | None = None,
    camera: str | None = None,
    progress: Progress | None = None,
) -> list[Findings]:
    """Each camera that the bucket has, or those of this edge or name; raises boto's errors."""
    progress = progress or Progress(disable=True)
    store = Bucket(s3, bucket)
    found = []
    for camera_id in _cameras(store, edge, camera):
        one = _look_at(store, camera_id, progress)
        if one.captured or one.quarantined:
            found.append(one)
    return found


def _cameras(store: Bucket, edge: str | None, camera: str | None) -> list[CameraId]:
    found = []
    edges = [edge] if edge else _names(store, "")
    for edge_name in edges:
        cameras = [camera] if camera else _names(store, f"{edge_name}/")
        found += [CameraId(edge_name, name) for name in cameras]
    return found


def _look_at(store: Bucket, camera_id: CameraId, progress: Progress) -> Findings:
    task = progress.add_task(str(camera_id), total=None)
    stored = BitMap()
    twice = BitMap()
    for key in store.keys(f"faces/{camera_id}/"):
        progress.advance(task)
        seq = seq_of(key)
        if seq in stored:
            twice.add(seq)
        elif seq:
            stored.add(seq)
    highest = stored.max() if stored else 0
    return Findings(
        camera_id=camera_id,
        ledger=False,
        captured=highest,
        stored=len(stored),
        quarantined=_count(store, f"quarantine/{camera_id}/"),
        missing=BitMap(range(1, highest + 1)) - stored,
        twice=twice,
        notes=store.notes,
    )


def _count(store: Bucket, prefix: str) -> int:
    """How many keys there are; versions of one follow each other."""
    count = 0
    last = ""
    for key in store.keys(prefix):
        if key != last:
            count += 1
        last = key
    return count


def _names(store: Bucket, below: str) -> list[str]:
    """Edges, or cameras `below` an edge, that have faces or objects in quarantine."""
    names: set[str] = set()
    for root in _ROOTS:
        names.update(store.names(root + below))
    return sorted(name for name in names if name == _NAMELESS or is_name(name))
