"""The system as plain processes: each part can be started, stopped, killed and hung by its name."""

import ctypes
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import boto3
from botocore.client import Config

from identity.authority import BROKER, PROCESSOR, Authority

ROOT = Path(__file__).resolve().parent.parent
PARTS = (
    "store",
    "cloud-broker",
    "edge-broker",
    "processor",
    "logger",
    "detector",
)  # in the order of starting
BUCKET = "faces"
_PORTS = (
    "edge",
    "cloud",
    "cloud-processors",
    "processor-metrics",
    "logger-metrics",
    "detector-metrics",
)
_WEED = ("master", "volume", "filer", "s3", "webdav", "admin")


class StackError(Exception):
    """A part does not start or has ended; the text names it and gives its last word."""


def free_ports(count: int) -> tuple[int, list[int]]:
    """Ports of the loopback that nobody listens on, all different, and a descriptor that keeps them ours until closed.

    They lie below those that the system hands out to clients, in a block of a hundred whose first stands for all.
    """
    for block in random.sample(range(10_000, 32_000, 100), 220):
        with socket.socket() as claim:
            try:
                claim.bind(("127.0.0.1", block))
            except OSError:
                continue
            ports = [port for port in range(block + 1, block + 100) if not _listens(port)][:count]
            if len(ports) == count:
                return claim.detach(), ports
    raise StackError(f"no {count} ports are free on this machine: end what listens there")


def mosquitto() -> str:
    """The broker's program: MOSQUITTO, or what mosquitto.sh finds or fetches; raises StackError."""
    if path := os.environ.get("MOSQUITTO"):
        return path
    found = subprocess.run(
        [ROOT / "deploy" / "mosquitto.sh"], stdout=subprocess.PIPE, text=True, check=False
    )
    if found.returncode:
        raise StackError("edge-broker: there is no mosquitto of at least 2.0.21")
    return found.stdout.strip()


class Stack:
    """All parts of one edge and its cloud, with their files below `folder`; a context manager that ends what it began.

    What a part kept in its folder is there again when a stack is made on the same folder. `env` holds settings for
    single parts: {"detector": {"SOURCE": ...}}.
    """

    def __init__(
        self, folder: Path, edge: str = "edge-1", env: dict[str, dict[str, str]] | None = None
    ) -> None:
        self.folder, self.edge = folder.resolve(), edge
        self._env = env or {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        names = [*_PORTS, *_WEED, *(f"{name}-grpc" for name in _WEED)]
        self._claim, ports = free_ports(len(names))
        self.ports = dict(zip(names, ports, strict=True))
        self.bridge_port = self.ports[
            "cloud"
        ]  # where the bridge finds the cloud; a test may put a proxy in between
        self.programs = {
            name: name for name in ("processor", "logger", "detector")
        }  # the module that each runs
        self.folder.mkdir(parents=True, exist_ok=True)
        secret = self.folder / "store.key"
        if not secret.exists():
            secret.touch(mode=0o600)
            secret.write_text(secrets.token_urlsafe(24))
        self.keys = {"AWS_ACCESS_KEY_ID": "facebridge", "AWS_SECRET_ACCESS_KEY": secret.read_text()}
        self.outbox = self.folder / "detector" / "outbox.db"
        self.s3_url = f"http://127.0.0.1:{self.ports['s3']}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop(*reversed(PARTS))
        if self._claim >= 0:
            os.close(self._claim)
            self._claim = -1

    def start(self, *names: str) -> None:
        """Start parts and wait until each is ready; raises StackError if one is not within 30 s."""
        for name in names:
            ready, deadline = self.launch(name), time.monotonic() + 30
            while (
                not ready() and (code := self.ended(name)) != 0
            ):  # a detector may have done its work already
                if code is not None or time.monotonic() > deadline:
                    raise StackError(self.obituary(name))
                time.sleep(0.05)

    def launch(self, name: str) -> Callable[[], bool]:
        """Start a part without waiting; what is returned tells whether it is ready."""
        home = self.folder / name
        home.mkdir(exist_ok=True)
        command, env, ready = self._recipe(name, home)
        with (home / "log").open("ab") as out:
            self._running[name] = subprocess.Popen(
                command,
                cwd=home,
                env={
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": str(ROOT),
                    **env,
                    **self._env.get(name, {}),
                },
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,  # Ctrl-C is ours to pass on
                preexec_fn=_die_with_parent,
            )
        return ready

    def set(self, name: str, setting: str, value: str) -> None:
        """Give a part a setting for its next start."""
        self._env.setdefault(name, {})[setting] = value

    def stop(self, *names: str, number: int = signal.SIGTERM) -> None:
        """End parts by a signal, one after the other, and wait for each; after 10 s by SIGKILL."""
        for name in names:
            if process := self._running.pop(name, None):
                process.send_signal(signal.SIGCONT)
                process.send_signal(number)
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            if name == "store":
                for port in self.ports.values():
                    for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # noqa: S108 - the store's own place
                        left.unlink(missing_ok=True)

    def kill(self, *names: str) -> None:
        """End parts by SIGKILL, all at the same moment."""
        for name in names:
            self._running[name].kill()
        for name in names:
            self._running.pop(name).wait()

    def hang(self, name: str) -> None:
        """Stop a part's clock."""
        self._running[name].send_signal(signal.SIGSTOP)

    def wake(self, name: str) -> None:
        """Let a part that hangs go on."""
        self._running[name].send_signal(signal.SIGCONT)

    def ended(self, name: str) -> int | None:
        """The exit code of a part that was started and has ended by itself, or None."""
        return self._running[name].poll() if name in self._running else None

    def pid(self, name: str) -> int:
        """The process id of a running part."""
        return self._running[name].pid

    def obituary(self, name: str) -> str:
        """One line about a part that has ended, or does not get ready."""
        log, code = self.folder / name / "log", self.ended(name)
        if code is not None and code < 0:
            return f"{name}: ended by signal {-code}; see {log}"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return f"{name}: {lines[-1] if lines else f'says nothing; see {log}'}"

    def metric(self, part: str, name: str) -> float:
        """The sum of a metric of a client over its labels; 0 if it is not there."""
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.ports[part + '-metrics']}/metrics", timeout=5
            ) as page:
                lines = page.read().decode().splitlines()
        except OSError:
            return 0
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in lines
            if line.startswith((f"{name} ", f"{name}{{"))
        )

    def s3(self) -> Any:
        """A client of the stack's store."""
        return boto3.session.Session(
            self.keys["AWS_ACCESS_KEY_ID"], self.keys["AWS_SECRET_ACCESS_KEY"]
        ).client(
            "s3",
            endpoint_url=self.s3_url,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 2}),
        )

    def _recipe(
        self, name: str, home: Path
    ) -> tuple[list[str], dict[str, str], Callable[[], bool]]:
        """Command, environment and readiness of a part."""
        if name == "store":
            return self._store(home), {"TMPDIR": str(home)}, lambda: answers(self.s3_url)
        if name == "edge-broker":
            place = {"listener 1883": f"listener {self.ports['edge']} 127.0.0.1"}
            place["address cloud-broker:8883"] = f"address localhost:{self.bridge_port}"
            return (
                self._broker(home, "edge", self.edge, place),
                {},
                lambda: _listens(self.ports["edge"]),
            )
        if name == "cloud-broker":
            place = {"listener 8883": f"listener {self.ports['cloud']} 127.0.0.1"}
            place["listener 8884"] = f"listener {self.ports['cloud-processors']} 127.0.0.1"
            return (
                self._broker(home, "cloud", BROKER, place),
                {},
                lambda: _listens(self.ports["cloud-processors"]),
            )
        metrics = self.ports[f"{name}-metrics"]
        env = {
            "METRICS_PORT": str(metrics),
            "BROKER_HOST": "127.0.0.1",
            "BROKER_PORT": str(self.ports["edge"]),
        }
        if name == "processor":
            env |= {"BROKER_HOST": "localhost", "BROKER_PORT": str(self.ports["cloud-processors"])}
            env["CERTS"] = str(self.bundle(PROCESSOR))
            env |= {
                "BUCKET": BUCKET,
                "CREATE_BUCKET": "1",
                "S3_ENDPOINT_URL": self.s3_url,
                **self.keys,
            }
        if name == "detector":
            env |= {"EDGE": self.edge, "OUTBOX": str(self.outbox)}
        ready = (
            (lambda: answers(f"http://127.0.0.1:{metrics}/healthz"))
            if name == "detector"
            else (lambda: answers(f"http://127.0.0.1:{metrics}/readyz"))
        )
        return [sys.executable, "-m", self.programs[name]], env, ready

    def bundle(self, name: str) -> Path:
        """The certificate of `name` from the stack's own CA."""
        folder = self.folder / "pki" / name
        return (
            folder if (folder / "tls.key").exists() else Authority(self.folder / "pki").issue(name)
        )

    def _broker(self, home: Path, side: str, identity: str, place: dict[str, str]) -> list[str]:
        """The shipped configuration with this machine's ports in place of the well-known ones."""
        conf = (ROOT / "mosquitto" / f"{side}.conf").read_text()
        for line, here in place.items():
            if conf.count(line + "\n") != 1:
                raise StackError(f"{side}-broker: {side}.conf has no single line '{line}'")
            conf = conf.replace(line + "\n", here + "\n")
        there = home / "mosquitto"
        there.mkdir(exist_ok=True)
        shutil.copytree(self.bundle(identity), home / "certs", dirs_exist_ok=True)
        shutil.copy(ROOT / "mosquitto" / f"{side}.acl", there)
        (there / f"{side}.acl").chmod(0o600)
        # Started by root, mosquitto would become a user who may not read the run's own files.
        (there / f"{side}.conf").write_text(conf if os.geteuid() else "user root\n" + conf)
        return [mosquitto(), "-c", f"mosquitto/{side}.conf"]

    def _store(self, home: Path) -> list[str]:
        credentials = {
            "accessKey": self.keys["AWS_ACCESS_KEY_ID"],
            "secretKey": self.keys["AWS_SECRET_ACCESS_KEY"],
        }
        users = {
            "identities": [
                {"name": "facebridge", "credentials": [credentials], "actions": ["Admin"]}
            ]
        }
        (home / "users.json").write_text(json.dumps(users))
        (home / "data").mkdir(exist_ok=True)
        ports = [f"-{name}.port={self.ports[name]}" for name in _WEED]
        ports += [
            f"-{name}.port.grpc={self.ports[name + '-grpc']}" for name in _WEED if name != "webdav"
        ]
        ports += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-admin.ui=false"]
        options = ["-dir=data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3.config=users.json"]
        options += ["-s3.autoCreateBucket=false", "-master.telemetry=false"]
        return [f"{sysconfig.get_path('scripts')}/weed", "-logdir=.", "mini", *options, *ports]


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(
            1, signal.SIGKILL
        )  # PR_SET_PDEATHSIG: nothing is left if we are killed


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def answers(url: str) -> bool:
    """Whether a server is there."""
    try:
        urllib.request.urlopen(url, timeout=2).close()
        return True
    except urllib.error.HTTPError as error:
        return error.code == 403  # a store that wants credentials is there
    except OSError:
        return False
