"""What was issued and what is good no more: a line for each certificate."""

import csv
import fcntl
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from identity.files import OWNER_ONLY, write_whole
from identity.issuer import PkiError


@dataclass(frozen=True)
class Entry:
    """A certificate: its serial number (hexadecimal), whose it is, and times as ISO 8601 has them.

    `revoked` is empty while it is good.
    """

    serial: str
    name: str
    end: str
    revoked: str = ""


COLUMNS = [field.name for field in fields(Entry)]


class Register:
    """A CSV file, and the only thing that knows its columns. Several processes may write to it."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def entries(self) -> list[Entry]:
        """All of them, oldest first; raises PkiError if the file is not as it was written."""
        if not self._file.exists():
            return []
        rows = csv.DictReader(io.StringIO(self._file.read_text()), strict=True)
        try:
            entries = [Entry(**row) for row in rows]
            for entry in entries:
                int(entry.serial, base=16)
        except (TypeError, ValueError, csv.Error) as error:
            raise PkiError(f"{self._file} is spoilt: put an older copy back ({error})") from None
        return entries

    def add(self, crt: x509.Certificate, name: str) -> None:
        """Write down a certificate, if it is not there yet."""
        entry = Entry(f"{crt.serial_number:x}", name, _written(crt.not_valid_after_utc))
        with self._alone():
            entries = self.entries()
            if entry.serial not in [other.serial for other in entries]:
                self._write([*entries, entry])

    def revoke(self, name: str) -> int:
        """Write down that the certificates of `name` are good no more; returns how many it has."""
        now = _written(datetime.now(UTC))
        with self._alone():
            entries = self.entries()
            own = 0
            for place, entry in enumerate(entries):
                if entry.name == name:
                    own += 1
                    entries[place] = replace(entry, revoked=entry.revoked or now)
            self._write(entries)
        return own

    def _write(self, entries: list[Entry]) -> None:
        text = io.StringIO()
        rows = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        rows.writeheader()
        rows.writerows(asdict(entry) for entry in entries)
        write_whole(self._file, text.getvalue().encode(), mode=OWNER_ONLY)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else writes meanwhile; the file is replaced, so its folder is what is locked."""
        folder = os.open(self._file.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)


def _written(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
