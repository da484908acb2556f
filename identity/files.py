"""Files that hold keys and rules: whole or not there, and read by whom they are for."""

import os
import tempfile
from pathlib import Path

OWNER_ONLY = 0o600
FOR_ALL = 0o644


def write_whole(file: Path, content: bytes, *, mode: int) -> None:
    """Write whole or not at all, and never readable by others for a moment."""
    handle, fresh = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    with os.fdopen(handle, "wb") as out:
        os.fchmod(handle, mode)
        out.write(content)
    Path(fresh).replace(file)
