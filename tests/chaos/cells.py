"""Two cells, and as much of Kubernetes as they need: probes, restarts, and one address for both."""

import random
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import yaml

from demo.stack import ROOT, Stack
from tests.chaos.trial import Trial

CELL = ("cloud-broker", "processor")
NOBODY = 1  # a port of the loopback on which nobody listens


@dataclass(frozen=True)
class Probe:
    """What is asked of a container, as its manifest says; a `restart` follows when it fails."""

    container: str
    path: str
    period_s: float
    timeout_s: float
    delay_s: float
    failures: int
    restart: bool

    @classmethod
    def read(cls, container: str, shown: dict[str, Any], *, restart: bool) -> Self:
        """A probe of a manifest, what is not said as Kubernetes takes it."""
        return cls(
            container,
            path=shown["httpGet"]["path"],
            period_s=shown.get("periodSeconds", 10),
            timeout_s=shown.get("timeoutSeconds", 1),
            delay_s=shown.get("initialDelaySeconds", 0),
            failures=shown.get("failureThreshold", 3),
            restart=restart,
        )


def probes() -> Iterator[Probe]:
    """Those of the Deployment `cell`."""
    for thing in yaml.safe_load_all((ROOT / "k8s/cloud/cell.yaml").read_text()):
        if thing["kind"] == "Deployment":
            for container in thing["spec"]["template"]["spec"]["containers"]:
                name = container["name"]
                yield Probe.read(name, container["livenessProbe"], restart=True)
                if "readinessProbe" in container:
                    yield Probe.read(name, container["readinessProbe"], restart=False)


class Cells:
    """The trial's own cell, and a second one beside it, which share the bucket.

    The trial's link is the address that both have: a new connection gets to a ready cell.
    """

    def __init__(self, trial: Trial) -> None:
        first = trial.stack
        second = Stack(trial.folder / "cell-2")
        second.pki = first.pki
        second.keys = first.keys
        second.s3_url = first.s3_url
        self.all = (first, second)
        self._link = trial.link
        self._ready = {first}
        self._over = threading.Event()
        self._changes = threading.Lock()
        self._threads = [
            threading.Thread(target=self._tend, args=(cell, probe))
            for cell in self.all
            for probe in probes()
        ]

    def tend(self) -> None:
        """Begin to do what Kubernetes does."""
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """End it, and the second cell."""
        self._over.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        self.all[1].stop(*CELL)

    def enter(self, cell: Stack, *, ready: bool) -> None:
        """Let new connections come to a cell, or come to it no more."""
        with self._changes:
            if ready:
                self._ready.add(cell)
            else:
                self._ready.discard(cell)
            ports = [one.ports["cloud"] for one in self._ready]
            self._link.target = random.choice(ports) if ports else NOBODY

    def _tend(self, cell: Stack, probe: Probe) -> None:
        failed = 0
        self._over.wait(probe.delay_s)
        while not self._over.wait(probe.period_s):
            if _answers(cell, probe):
                failed = 0
                if not probe.restart:
                    self.enter(cell, ready=True)
                continue
            failed += 1
            if failed < probe.failures:
                continue
            failed = 0
            if probe.restart:
                self._restart(cell, probe.container)
                self._over.wait(probe.delay_s)
            else:
                self.enter(cell, ready=False)

    def _restart(self, cell: Stack, part: str) -> None:
        """What a kubelet does to a container that does not answer."""
        with self._changes:
            if not self._over.is_set():
                cell.stop(part, number=9)
                cell.launch(part)


def _answers(cell: Stack, probe: Probe) -> bool:
    url = f"http://127.0.0.1:{cell.ports['processor-metrics']}{probe.path}"
    try:
        urllib.request.urlopen(url, timeout=probe.timeout_s).close()
    except OSError:  # an HTTPError is one, too
        return False
    return True


@contextmanager
def two_cells(trial: Trial, *, tended: bool = True) -> Iterator[Cells]:
    """The trial's system with a second cell; `tended` as by Kubernetes."""
    trial.start()
    cells = Cells(trial)
    try:
        cells.all[1].start(*CELL)
        cells.enter(cells.all[1], ready=True)
        if tended:
            cells.tend()
        yield cells
    finally:
        cells.end()
