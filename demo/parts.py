"""The parts of the system, each as this machine starts it."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from demo.ports import HOST, answers, listens
from demo.processes import ROOT, Part, StackError

# The servers in the store's one process.
STORE_SERVERS = ("master", "volume", "filer", "s3", "webdav", "admin")
_WITHOUT_GRPC = "webdav"


def mosquitto() -> str:
    """The broker's program: MOSQUITTO, or what mosquitto.sh finds or fetches; raises StackError."""
    given = os.environ.get("MOSQUITTO")
    if given:
        return given
    script = ROOT / "deploy" / "mosquitto.sh"
    found = subprocess.run([script], stdout=subprocess.PIPE, text=True, check=False)
    if found.returncode:
        raise StackError("edge-broker: there is no mosquitto of at least 2.0.21")
    return found.stdout.strip()


def broker(
    home: Path,
    side: str,
    *,
    root: Path = ROOT,
    moved: Mapping[str, str],
    certs: Path,
    port: int,
) -> Part:
    """The broker of a side (edge or cloud), ready when it listens on `port`.

    It has the configuration of the checkout `root`, with `moved` giving this machine's line for
    each line of it that names a well-known port. Raises StackError if it has no such line.
    """
    conf = (root / "mosquitto" / f"{side}.conf").read_text()
    for line, line_here in moved.items():
        if conf.count(line + "\n") != 1:
            raise StackError(f"{side}-broker: {side}.conf has no single line '{line}'")
        conf = conf.replace(line + "\n", line_here + "\n")
    if os.geteuid() == 0:
        # Else mosquitto would become a user who may not read the run's own files.
        conf = "user root\n" + conf
    folder = home / "mosquitto"
    folder.mkdir(exist_ok=True)
    (folder / f"{side}.conf").write_text(conf)
    acl = folder / f"{side}.acl"
    shutil.copy(root / "mosquitto" / f"{side}.acl", acl)
    acl.chmod(0o600)
    shutil.copytree(certs, home / "certs", dirs_exist_ok=True)
    command = [mosquitto(), "-c", f"mosquitto/{side}.conf"]
    return Part(command, is_ready=lambda: listens(port))


def client(
    module: str,
    *,
    env: Mapping[str, str],
    metrics_port: int,
    ready_path: str,
) -> Part:
    """A client of a broker, ready when its metrics server answers at a path."""
    url = f"http://{HOST}:{metrics_port}{ready_path}"
    return Part(
        [sys.executable, "-m", module],
        is_ready=lambda: answers(url),
        env={**env, "METRICS_PORT": str(metrics_port)},
    )


def store_ports() -> list[str]:
    """The names of the ports that the store needs."""
    return [*STORE_SERVERS, *(_grpc(server) for server in STORE_SERVERS)]


def store(
    home: Path,
    *,
    ports: Mapping[str, int],
    access_key: str,
    secret_key: str,
) -> Part:
    """The S3 server, with one user who may do everything."""
    credentials = [{"accessKey": access_key, "secretKey": secret_key}]
    user = {"name": access_key, "credentials": credentials, "actions": ["Admin"]}
    (home / "users.json").write_text(json.dumps({"identities": [user]}))
    (home / "data").mkdir(exist_ok=True)
    command = [f"{sysconfig.get_path('scripts')}/weed", "-logdir=.", "mini"]
    command += ["-dir=data", f"-ip={HOST}", f"-ip.bind={HOST}", "-s3.config=users.json"]
    command += ["-s3.autoCreateBucket=false", "-master.telemetry=false"]
    for server in STORE_SERVERS:
        command.append(f"-{server}.port={ports[server]}")
        if server != _WITHOUT_GRPC:
            command.append(f"-{server}.port.grpc={ports[_grpc(server)]}")
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-admin.ui=false"]
    url = f"http://{HOST}:{ports['s3']}"
    return Part(command, is_ready=lambda: answers(url), env={"TMPDIR": str(home)})


def remove_store_sockets(ports: Mapping[str, int]) -> None:
    """Remove what a store that has ended leaves in the machine's /tmp, whatever TMPDIR says."""
    place = Path("/tmp")  # noqa: S108 - the store's own choice
    for port in ports.values():
        for left in place.glob(f"seaweedfs-*-{port}.sock"):
            left.unlink(missing_ok=True)


def _grpc(server: str) -> str:
    return f"{server}-grpc"
