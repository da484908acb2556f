"""What a cloud host is given: one archive of the code that it builds and its identities."""

import argparse
import hashlib
import io
import tarfile
from pathlib import Path, PurePosixPath

from identity.access_rules import ACL, CRL, FOLDER
from identity.authority import BROKER, PROCESSOR, SERVICES_CRT

ROOT = Path(__file__).resolve().parent.parent
USER = 10001  # whom the images run as
# The template is among them, so that the archive's hash stands for all that an instance is made by.
CODE = (
    ".dockerignore",
    "Dockerfile",
    "bus/*.py",
    "compose/cloud.yaml",
    "compose/ec2.yaml",
    "deploy/aws.yaml",
    "deploy/instance.sh",
    "mosquitto/*.acl",
    "mosquitto/*.conf",
    "processor/*.py",
    "requirements/processor.txt",
    "requirements/tools.txt",
)
IDENTITY = (
    "ca.crt",
    f"{FOLDER}/{ACL}",
    f"{FOLDER}/{CRL}",
    f"{BROKER}/{SERVICES_CRT}",
    f"{BROKER}/tls.crt",
    f"{BROKER}/tls.key",
    f"{PROCESSOR}/tls.crt",
    f"{PROCESSOR}/tls.key",
)


class Archive:
    """A tar whose bytes follow from its content alone; `version` is its SHA-256."""

    def __init__(self, pki: Path, bucket: str, region: str) -> None:
        """Packs this checkout's code and the identities in `pki`; OSError if one is missing."""
        env = f"BUCKET={bucket}\nS3_REGION={region}\nPKI=../pki\nRUN_AS={USER}:{USER}\n"
        files = {"compose/.env": env.encode()}
        for pattern in CODE:
            for path in ROOT.glob(pattern):
                files[path.relative_to(ROOT).as_posix()] = path.read_bytes()
        for name in IDENTITY:
            files[f"pki/{name}"] = (pki / name).read_bytes()
        folders = {str(parent) for name in files for parent in PurePosixPath(name).parents}
        folders.add("keys")
        folders.remove(".")
        packed = io.BytesIO()
        # Not compressed: another zlib would make other bytes of the same content.
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for name in sorted(folders):
                entry = _entry(name, secret_mode=0o500, mode=0o755)
                entry.type = tarfile.DIRTYPE
                tar.addfile(entry)
            for name, content in sorted(files.items()):
                entry = _entry(name, secret_mode=0o400, mode=0o644)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
        self.content = packed.getvalue()
        self.version = hashlib.sha256(self.content).hexdigest()
        self.key = f"deploy/{self.version}.tar"


def _entry(name: str, *, secret_mode: int, mode: int) -> tarfile.TarInfo:
    """One of root's, or of the images' user alone if it is below pki/ or keys/."""
    entry = tarfile.TarInfo(name)
    secret = PurePosixPath(name).parts[0] in ("pki", "keys")
    entry.mode = secret_mode if secret else mode
    entry.uid = entry.gid = USER if secret else 0
    return entry


def main() -> None:
    """Write the archive and print its SHA-256, for who drives the template by other means."""
    parser = argparse.ArgumentParser("python -m deploy.archive", description=main.__doc__)
    parser.add_argument("bucket", metavar="BUCKET")
    parser.add_argument("region", metavar="REGION")
    parser.add_argument("file", metavar="FILE", type=Path)
    parser.add_argument("--pki", type=Path, default=Path("pki"), help="(%(default)s)")
    chosen = parser.parse_args()
    archive = Archive(chosen.pki, chosen.bucket, chosen.region)
    chosen.file.touch(mode=0o600)
    chosen.file.write_bytes(archive.content)
    print(archive.version)


if __name__ == "__main__":
    main()
