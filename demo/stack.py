"""The system as plain processes: each part can be started, stopped, killed and hung by its name."""

import os
import secrets
import signal
import urllib.request
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import boto3
from botocore.client import Config
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from demo import parts
from demo.parts import mosquitto
from demo.ports import HOST, answers, free_ports
from demo.processes import ROOT, Part, Processes, StackError
from identity import access_rules
from identity.authority import BROKER, PROCESSOR, Authority

__all__ = [
    "BUCKET",
    "PARTS",
    "ROOT",
    "Stack",
    "StackError",
    "answers",
    "free_ports",
    "mosquitto",
]

# In the order of starting.
PARTS = ("store", "cloud-broker", "edge-broker", "processor", "logger", "detector")
CLIENTS = ("processor", "logger", "detector")
BUCKET = "faces"
_BROKER_PORTS = ("edge", "cloud", "cloud-processors")
_USER = "facebridge"
_METRICS_TIMEOUT_S = 5.0


class Stack(Processes):
    """All parts of one edge and its cloud; a context manager that ends what it began.

    What a part kept in its folder is there again when a stack is made on the same folder. `env`
    holds settings for single parts: {"detector": {"SOURCE": ...}}.

    `ports` are by name: edge, cloud, cloud-processors, each client's as in processor-metrics, and
    the store's. `bridge_port` is where the bridge finds the cloud: a test may put a proxy in
    between. `programs` is the module that each client runs, `pki` the CA's folder.
    """

    def __init__(
        self,
        folder: Path,
        edge: str = "edge-1",
        env: dict[str, dict[str, str]] | None = None,
    ) -> None:
        super().__init__(folder)
        self.edge = edge
        self._env = env or {}
        metrics_ports = [_metrics(name) for name in CLIENTS]
        names = [*_BROKER_PORTS, *metrics_ports, *parts.store_ports()]
        self._claim, free = free_ports(len(names))
        self.ports = dict(zip(names, free, strict=True))
        self.bridge_port = self.ports["cloud"]
        self.programs = {name: name for name in CLIENTS}
        self.keys = {
            "AWS_ACCESS_KEY_ID": _USER,
            "AWS_SECRET_ACCESS_KEY": _secret(self.folder / "store.key"),
        }
        self.outbox = self.home("detector") / "outbox.db"
        self.pki = self.folder / "pki"
        self.s3_url = f"http://{HOST}:{self.ports['s3']}"

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

    def set(self, name: str, setting: str, value: str) -> None:
        """Give a part a setting for its next start."""
        self._env.setdefault(name, {})[setting] = value

    def stop(self, *names: str, number: int = signal.SIGTERM) -> None:
        """End parts by a signal, one after the other, and wait for each; after 10 s by SIGKILL."""
        super().stop(*names, number=number)
        if "store" in names:
            parts.remove_store_sockets(self.ports)

    def metric(self, part: str, name: str) -> float:
        """The sum of a metric of a client over its labels; 0 if it is not there."""
        return sum(sample.value for sample in self._samples(part) if sample.name == name)

    def histogram(self, part: str, name: str) -> Counter[float]:
        """How many values a histogram has counted up to each of its bounds, over its labels."""
        counts: Counter[float] = Counter()
        for sample in self._samples(part):
            if sample.name == f"{name}_bucket":
                counts[float(sample.labels["le"])] += int(sample.value)
        return counts

    def _samples(self, part: str) -> list[Sample]:
        """All that a client's metrics say; nothing if they cannot be read."""
        url = f"http://{HOST}:{self.ports[_metrics(part)]}/metrics"
        try:
            with urllib.request.urlopen(url, timeout=_METRICS_TIMEOUT_S) as page:
                text = page.read().decode()
        except OSError:
            return []
        samples = []
        for family in text_string_to_metric_families(text):
            samples += family.samples
        return samples

    def s3(self) -> Any:
        """A client of the stack's store."""
        session = boto3.session.Session(
            aws_access_key_id=self.keys["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.keys["AWS_SECRET_ACCESS_KEY"],
        )
        return session.client(
            "s3",
            endpoint_url=self.s3_url,
            region_name="us-east-1",
            config=Config(
                s3={"addressing_style": "path"},
                retries={"total_max_attempts": 2},
            ),
        )

    def bundle(self, name: str) -> Path:
        """The certificate of `name` from the stack's own CA."""
        Authority(self.pki).keep(name)
        return self.pki / name

    def revoke(self, name: str) -> None:
        """Shut an edge out, at once if the cloud broker runs."""
        Authority(self.pki).revoke(name)
        self.reload("cloud-broker")

    def reenrol(self, name: str) -> None:
        """Give an edge another certificate; one that was shut out is let in with it."""
        Authority(self.pki).issue(name, force=True)
        self.reload("cloud-broker")

    def part(self, name: str) -> Part:
        """What the part of this name is, if it were started now; raises StackError."""
        match name:
            case "store":
                part = self._store()
            case "cloud-broker":
                part = self._cloud_broker()
            case "edge-broker":
                part = self._edge_broker()
            case "processor":
                part = self._processor()
            case "logger":
                part = self._logger()
            case "detector":
                part = self._detector()
            case _:
                raise StackError(f"{name}: no such part; there are {', '.join(PARTS)}")
        own = self._env.get(name, {})
        return Part(part.command, is_ready=part.is_ready, env={**part.env, **own})

    def _store(self) -> Part:
        return parts.store(
            self.home("store"),
            ports=self.ports,
            access_key=self.keys["AWS_ACCESS_KEY_ID"],
            secret_key=self.keys["AWS_SECRET_ACCESS_KEY"],
        )

    def _cloud_broker(self) -> Part:
        edges = self.ports["cloud"]
        processors = self.ports["cloud-processors"]
        certs = self.bundle(BROKER)
        home = self.home("cloud-broker")
        rules = home / access_rules.FOLDER
        rules.unlink(missing_ok=True)
        rules.symlink_to(self.pki / access_rules.FOLDER)
        return parts.broker(
            home,
            "cloud",
            root=self.root,
            moved={
                "listener 8883": f"listener {edges} {HOST}",
                "listener 8884": f"listener {processors} {HOST}",
            },
            certs=certs,
            port=processors,
        )

    def _edge_broker(self) -> Part:
        port = self.ports["edge"]
        return parts.broker(
            self.home("edge-broker"),
            "edge",
            root=self.root,
            moved={
                "listener 1883": f"listener {port} {HOST}",
                "address cloud-broker:8883": f"address localhost:{self.bridge_port}",
            },
            certs=self.bundle(self.edge),
            port=port,
        )

    def _processor(self) -> Part:
        env = {
            "BROKER_HOST": "localhost",  # the name in the broker's certificate
            "BROKER_PORT": str(self.ports["cloud-processors"]),
            "CERTS": str(self.bundle(PROCESSOR)),
            "BUCKET": BUCKET,
            "CREATE_BUCKET": "1",
            "S3_ENDPOINT_URL": self.s3_url,
            **self.keys,
        }
        return self._client("processor", env)

    def _logger(self) -> Part:
        return self._client("logger", self._at_the_edge())

    def _detector(self) -> Part:
        env = {**self._at_the_edge(), "EDGE": self.edge, "OUTBOX": str(self.outbox)}
        # It is ready before it has a connection: without one it captures all the same.
        return self._client("detector", env, ready_path="/healthz")

    def _at_the_edge(self) -> dict[str, str]:
        return {"BROKER_HOST": HOST, "BROKER_PORT": str(self.ports["edge"])}

    def _client(
        self,
        name: str,
        env: dict[str, str],
        *,
        ready_path: str = "/readyz",
    ) -> Part:
        return parts.client(
            self.programs[name],
            env=env,
            metrics_port=self.ports[_metrics(name)],
            ready_path=ready_path,
        )


def _metrics(client: str) -> str:
    return f"{client}-metrics"


def _secret(file: Path) -> str:
    """The store's secret key, made on first use."""
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(24))
    return file.read_text()
