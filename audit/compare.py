"""The outbox against the bucket, seq by seq and byte by byte."""

from pathlib import Path
from typing import Any

from pyroaring import BitMap
from rich.progress import Progress

from audit.bucket import Bucket, seq_of
from audit.findings import Findings
from audit.inspection import Inspection
from detector.outbox_reader import Ledger, OutboxReader


def audit(
    outbox: Path,
    s3: Any,
    bucket: str,
    *,
    quick: bool = False,
    progress: Progress | None = None,
) -> Findings:
    """Compare an outbox with a bucket, in memory that a bucket does not fill.

    `quick` only sees whether an object is there. The ledger is read before the bucket and again
    after it, so what is captured or settled meanwhile is no cause for alarm: what is settled by
    then, and was not listed, is asked for by its key. Raises LedgerError and boto's errors.
    """
    progress = progress or Progress(disable=True)
    store = Bucket(s3, bucket)
    with OutboxReader(outbox) as reader, Inspection(store, quick=quick) as inspection:
        before = reader.ledger()
        task = progress.add_task(str(before.camera_id), total=before.stored)
        highest = 0
        for key in store.keys(f"faces/{before.camera_id}/"):
            progress.advance(task)
            seq = seq_of(key)
            highest = max(highest, seq)
            if 0 < seq <= before.captured:
                inspection.take(seq, key, reader.entry(seq))
        inspection.finish()

        after = reader.ledger()
        captured = BitMap(range(1, before.captured + 1))
        waiting = BitMap(after.waiting_seqs)
        dropped = _gaps(after, quarantined=False)
        quarantined = _gaps(after, quarantined=True)
        unseen = captured - inspection.stored - inspection.spoilt
        settled = unseen - waiting - dropped - quarantined
        forgotten = _ask_for(settled, reader, inspection)
        # Settled meanwhile, and pushed out of the ledger by what came after: not known to be lost.
        waiting |= forgotten & BitMap(before.waiting_seqs)

    unseen = captured - inspection.stored - inspection.spoilt
    notes = store.notes
    if highest > after.captured:
        strange = f"the bucket has seq {highest}, which this outbox has never given"
        notes = [f"{before.camera_id}: {strange}", *notes]
    return Findings(
        camera_id=before.camera_id,
        ledger=True,
        captured=before.captured,
        stored=len(inspection.stored - inspection.spoilt),
        waiting=len(unseen & waiting),
        dropped=len(unseen & dropped),
        quarantined=len(unseen & quarantined),
        missing=unseen - waiting - dropped - quarantined,
        twice=inspection.twice,
        spoilt=inspection.spoilt_keys,
        notes=notes,
    )


def _gaps(ledger: Ledger, *, quarantined: bool) -> BitMap:
    """The seqs that are in quarantine, or those that were dropped."""
    seqs = BitMap()
    for gap in ledger.gaps:
        if gap.quarantined == quarantined:
            seqs.add_range(gap.first, gap.last + 1)
    return seqs


def _ask_for(seqs: BitMap, reader: OutboxReader, inspection: Inspection) -> BitMap:
    """Look for these by their keys; returns those whose key the ledger has forgotten."""
    forgotten = BitMap()
    for seq in seqs:
        entry = reader.entry(seq)
        if entry:
            inspection.ask_for(entry)
        else:
            forgotten.add(seq)
    inspection.finish()
    return forgotten
