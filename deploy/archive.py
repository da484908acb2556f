"""What a cloud host is given: one archive of what compose/cloud.yaml needs, and the script that starts it."""

import hashlib
import io
import shlex
import tarfile
from pathlib import Path, PurePosixPath

from identity.authority import BROKER, PROCESSOR

ROOT = Path(__file__).resolve().parent.parent
USER = 10001  # whom the images run as
CODE = (".dockerignore", "Dockerfile", "bus/*.py", "compose/cloud.yaml", "mosquitto/*.acl", "mosquitto/*.conf",
        "processor/*.py", "requirements/processor.txt", "requirements/tools.txt")  # fmt: skip
IDENTITY = (
    "ca.crt",
    *(f"{name}/tls.{kind}" for name in (BROKER, PROCESSOR) for kind in ("crt", "key")),
)

_START = """#!/bin/bash
# Docker, then the cloud half of Facebridge. /var/log/cloud-init-output.log has what this says.
set -eu
export DEBIAN_FRONTEND=noninteractive
# The network is cut for a moment when the Elastic IP comes.
again() { for pause in 5 15 30 60; do "$@" && return; sleep $pause; done; "$@"; }
packages() {
    apt-get -q -o APT::Update::Error-Mode=any update &&
        apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@"
}
again packages docker.io docker-buildx docker-compose-v2
umask 077
mkdir -p /opt/facebridge
cd /opt/facebridge
again curl -fsS --max-time 60 -o parcel.tar @URL@
echo '@SHA256@  parcel.tar' | sha256sum -c -
tar --numeric-owner -xpf parcel.tar
rm parcel.tar
again docker compose -f compose/cloud.yaml up -d --build
"""


class Parcel:
    """An archive whose bytes follow from its content alone, so that its hash is the version of what runs."""

    def __init__(self, pki: Path, bucket: str, region: str) -> None:
        """Packs code from this checkout and identities from `pki`; raises OSError if one of those is missing."""
        env = f"BUCKET={bucket}\nS3_REGION={region}\nPKI=../pki\nRUN_AS={USER}:{USER}\n"
        files = {
            path.relative_to(ROOT).as_posix(): path.read_bytes()
            for part in CODE
            for path in ROOT.glob(part)
        }
        files |= {f"pki/{name}": (pki / name).read_bytes() for name in IDENTITY}
        files["compose/.env"] = env.encode()
        folders = {str(parent) for name in files for parent in PurePosixPath(name).parents} - {"."}
        packed = io.BytesIO()
        # Not compressed: another zlib would make other bytes of the same content.
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for name in sorted([*files, *folders]):
                entry = tarfile.TarInfo(name)
                secret, folder = PurePosixPath(name).parts[0] == "pki", name in folders
                entry.type = tarfile.DIRTYPE if folder else tarfile.REGTYPE
                entry.mode = (
                    (0o500 if folder else 0o400) if secret else (0o755 if folder else 0o644)
                )
                entry.uid = entry.gid = USER if secret else 0
                entry.size = 0 if folder else len(files[name])
                tar.addfile(entry, None if folder else io.BytesIO(files[name]))
        self.content = packed.getvalue()
        self.version = hashlib.sha256(self.content).hexdigest()

    def start(self, url: str) -> str:
        """The script that fetches this archive from `url` and nothing else, and starts what is in it."""
        return _START.replace("@SHA256@", self.version).replace("@URL@", shlex.quote(url))
