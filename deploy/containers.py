"""The system in containers: ./just up, down. Says in one line what does not come up, and why."""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 180  # until everything is healthy, images built
LOOK_EVERY_S = 1.0
NO_COMMAND = 127
ENDING = "./just down ends what is running"


@dataclass(frozen=True)
class Part:
    """A container as Compose shows it."""

    service: str
    name: str
    state: str  # created, running, restarting, exited ...
    health: str  # healthy, unhealthy, starting; empty where nothing checks it
    status: str  # the same in words
    ports: tuple[str, ...]  # those that this machine listens on, with their address

    @classmethod
    def read(cls, line: str) -> "Part":
        """One line of `docker compose ps --format json`."""
        shown: dict[str, Any] = json.loads(line)
        published = [port for port in shown["Publishers"] or () if port["PublishedPort"]]
        return cls(
            service=shown["Service"],
            name=shown["Name"],
            state=shown["State"],
            health=shown["Health"],
            status=shown["Status"],
            ports=tuple(f"{port['URL']}:{port['PublishedPort']}" for port in published),
        )

    @property
    def is_late(self) -> bool:
        """Whether it has begun and is not what it should be."""
        if self.state == "running":
            return self.health not in ("healthy", "")
        return self.state == "restarting"


class Project:
    """One of the shipped compose files and what runs of it."""

    def __init__(self, which: str) -> None:
        file = ROOT / "compose" / f"{which}.yaml"
        self.compose = ["docker", "compose", "-f", str(file)]

    def ask(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run Compose and keep what it says."""
        command = [*self.compose, "--ansi", "never", *words]
        try:
            return subprocess.run(command, text=True, capture_output=True, check=False)
        except FileNotFoundError:
            reason = "there is no docker here: install Docker with Compose"
            return subprocess.CompletedProcess(command, NO_COMMAND, stdout="", stderr=reason)

    def build(self) -> bool:
        """Build the images, in sight; returns whether all are there."""
        return subprocess.run([*self.compose, "build"], stdout=sys.stderr).returncode == 0

    def start(self, log: TextIO) -> "subprocess.Popen[str]":
        """Begin to start everything; the process ends when all is healthy, or something is not."""
        waiting = ["up", "--detach", "--wait", "--wait-timeout", str(PATIENCE_S)]
        command = [*self.compose, "--ansi", "never", *waiting]
        return subprocess.Popen(command, text=True, stdout=log, stderr=log)

    def parts(self) -> list[Part]:
        """Its containers; those of the other half, which may run from one checkout, are not."""
        shown = self.ask("ps", "--all", "--orphans=false", "--format", "json").stdout
        return [Part.read(line) for line in shown.splitlines()]

    def last_word(self, part: Part) -> str:
        """The last thing that a container said; if nothing, how it is."""
        logs = self.ask("logs", "--no-log-prefix", "--no-color", "--tail", "5", part.service)
        return _last(logs.stdout) or part.status


def up(which: str) -> None:
    """Build, start, wait until all is healthy, say where to look; end with one line if that fails."""
    project = Project(which)
    if project.ask("ls").returncode:
        sys.exit(
            "there is no Docker engine with Compose in reach:"
            " start it, or run ./just demo, which needs none"
        )
    print("building and starting; the first time takes a few minutes", file=sys.stderr)
    if not project.build():
        sys.exit(f"compose: the images were not built, see above\n{ENDING}")
    if fault := _start(project):
        sys.exit(fault)
    for part in project.parts():
        if part.state == "running":
            print(f"{part.service:14} healthy {' '.join(part.ports)}")
    print(
        "./just watch: faces as they cross    ./just audit: what arrived    ./just logs    ./just down"
    )


def _start(project: Project) -> str:
    """Start and wait; returns what is wrong, nothing if all is well."""
    with tempfile.TemporaryFile("w+") as log, project.start(log) as starting:
        looping = _await(project, starting)
        if starting.returncode == 0:
            return ""
        log.seek(0)
        reason = _last(log.read())
    part = looping or _culprit(project.parts(), reason)
    if part is None:
        return f"compose: {reason}\n{ENDING}"
    return f"{part.service}: {project.last_word(part)}\n./just logs shows more, {ENDING}"


def _await(project: Project, starting: "subprocess.Popen[str]") -> Part | None:
    """Wait for Compose, but no longer than until a container has twice been seen to start anew.

    Compose itself would go on waiting for one that ends again and again.
    """
    before: set[str] = set()
    while starting.poll() is None:
        time.sleep(LOOK_EVERY_S)
        looping = [part for part in project.parts() if part.state == "restarting"]
        for part in looping:
            if part.name in before:
                starting.terminate()
                starting.wait()
                return part
        before = {part.name for part in looping}
    return None


def _culprit(parts: Sequence[Part], reason: str) -> Part | None:
    """The container that Compose names in its last line; if it ran out of time, one that is late."""
    for part in parts:
        if part.name in reason.split() or f'"{part.service}"' in reason:
            return part
    return next((part for part in parts if part.is_late), None)


def _last(text: str) -> str:
    """The last line that says something; of a log line its event and its reason."""
    plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)
    lines = [line.strip() for line in plain.splitlines()]
    said = [line for line in lines if line and not line.startswith("#")]
    if not said:
        return ""
    try:
        fields = json.loads(said[-1])
        event = str(fields["event"])
    except (ValueError, KeyError, TypeError):
        return said[-1]
    return f"{event}: {fields['reason']}" if "reason" in fields else event


def down(which: str, *, volumes: bool) -> None:
    """End what runs; with `volumes` what the outbox and the store hold goes too."""
    words = ["down", "--remove-orphans"]
    if volumes:
        words.append("--volumes")
    ended = Project(which).ask(*words)
    if ended.returncode:
        sys.exit(_last(ended.stderr) or "no word of it")


def main() -> None:
    """Bring the system up, or down with its volumes."""
    parser = argparse.ArgumentParser("./just up|down", description=__doc__)
    parser.add_argument("what", choices=["up", "down"])
    parser.add_argument("which", nargs="?", default="compose", choices=["compose", "edge", "cloud"])
    parser.add_argument(
        "--volumes", action="store_true", help="down: also what the outbox and the store hold"
    )
    chosen = parser.parse_args()
    try:
        if chosen.what == "up":
            up(chosen.which)
        else:
            down(chosen.which, volumes=chosen.volumes)
    except KeyboardInterrupt:
        sys.exit("stopped; ./just down ends what is running")


if __name__ == "__main__":
    main()
