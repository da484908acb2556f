"""The parts of a system as processes: started, stopped, killed and hung by their names."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent  # the checkout
PID = "pid"  # the file in a part's folder that names its process
_READY_WITHIN_S = 30.0
_END_WITHIN_S = 10.0
_POLL_S = 0.05
_PR_SET_PDEATHSIG = 1  # of prctl(2)


class StackError(Exception):
    """A part does not start or has ended; the text names it and gives its last word."""


@dataclass(frozen=True)
class Part:
    """A process: its command, whether it is ready, and what its environment is to hold."""

    command: list[str]
    is_ready: Callable[[], bool]
    env: dict[str, str] = field(default_factory=dict)


class Processes(ABC):
    """Parts that each run in a folder of their own below `folder`; what they say is its `log`.

    `root` is the checkout whose code they run.
    """

    def __init__(self, folder: Path) -> None:
        self.root = ROOT
        self.folder = folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @abstractmethod
    def part(self, name: str) -> Part:
        """How the part of this name is started now, in its folder; raises StackError."""

    def home(self, name: str) -> Path:
        """The folder of a part."""
        return self.folder / name

    def start(self, *names: str) -> None:
        """Start parts and wait until each is ready; raises StackError if one is not within 30 s."""
        for name in names:
            is_ready = self.launch(name)
            deadline = time.monotonic() + _READY_WITHIN_S
            while not is_ready():
                code = self.ended(name)
                if code == 0:
                    break  # a detector may have done its work already
                if code is not None or time.monotonic() > deadline:
                    raise StackError(self.obituary(name))
                time.sleep(_POLL_S)

    def launch(self, name: str) -> Callable[[], bool]:
        """Start a part without waiting; what is returned tells whether it is ready."""
        home = self.home(name)
        home.mkdir(exist_ok=True)
        part = self.part(name)
        with (home / "log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                part.command,
                cwd=home,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(self.root), **part.env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is ours to pass on
                preexec_fn=_die_with_parent,
            )
        (home / PID).write_text(str(self._running[name].pid))
        return part.is_ready

    def stop(self, *names: str, number: int = signal.SIGTERM) -> None:
        """End parts by a signal, one after the other, and wait for each; after 10 s by SIGKILL."""
        for name in names:
            process = self._running.pop(name, None)
            if not process:
                continue
            (self.home(name) / PID).unlink(missing_ok=True)
            process.send_signal(signal.SIGCONT)
            process.send_signal(number)
            try:
                process.wait(_END_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

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

    def reload(self, name: str) -> None:
        """Let a part read its configuration again, if it runs."""
        process = self._running.get(name)
        if process:
            process.send_signal(signal.SIGHUP)

    def ended(self, name: str) -> int | None:
        """The exit code of a part that was started and has ended by itself, or None."""
        process = self._running.get(name)
        if not process:
            return None
        return process.poll()

    def pid(self, name: str) -> int:
        """The process id of a running part."""
        return self._running[name].pid

    def obituary(self, name: str) -> str:
        """One line about a part that has ended, or does not get ready."""
        log = self.home(name) / "log"
        code = self.ended(name)
        if code is not None and code < 0:
            return f"{name}: ended by signal {-code}; see {log}"
        lines = []
        if log.exists():
            lines = log.read_text(errors="replace").splitlines()
        if not lines:
            return f"{name}: says nothing; see {log}"
        return f"{name}: {lines[-1]}"


def _die_with_parent() -> None:
    """Nothing is left if we are killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
