"""The system in containers: ./just up, down. Says in one line what does not come up, and why."""

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
COMPOSE = ["docker", "compose", "-f", str(ROOT / "compose" / "compose.yaml")]
PATIENCE = 180  # s until everything is healthy, images built
_ORDER = (
    "enrol",
    "store",
    "cloud-broker",
    "edge-broker",
    "processor",
    "sample",
    "detector",
    "logger",
)


def compose(which: str, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run Compose on one of the shipped files."""
    command = [
        "docker",
        "compose",
        "--ansi",
        "never",
        "-f",
        str(ROOT / "compose" / f"{which}.yaml"),
        *words,
    ]
    try:
        return subprocess.run(command, text=True, capture_output=True, check=False)
    except FileNotFoundError:
        return subprocess.CompletedProcess(
            command, 127, "", "there is no docker here: install Docker with Compose"
        )


def _last(text: str) -> str:
    """The last line that says something; of a log line its event and its reason."""
    plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)
    lines = [
        line.strip() for line in plain.splitlines() if line.strip() and not line.startswith("#")
    ]
    try:
        said = json.loads(lines[-1])
        return f"{said['event']}: {said['reason']}" if "reason" in said else str(said["event"])
    except (ValueError, KeyError, TypeError, IndexError):
        return lines[-1] if lines else "no word of it"


def containers(which: str) -> list[dict[str, Any]]:
    """What `docker inspect` says of each container of the project, in the order in which they depend on each other."""
    ids = compose(which, "ps", "-aq").stdout.split()
    if not ids:
        return []
    shown = subprocess.run(
        ["docker", "inspect", *ids], text=True, capture_output=True, check=False
    ).stdout
    services = compose(
        which, "config", "--services"
    ).stdout.split()  # both halves may run from one checkout
    found = [one for one in json.loads(shown or "[]") if _service(one) in services]
    return sorted(found, key=lambda one: _ORDER.index(_service(one)))


def _service(container: dict[str, Any]) -> str:
    return str(container["Config"]["Labels"]["com.docker.compose.service"])


def trouble(which: str, found: list[dict[str, Any]], final: bool) -> str:
    """One line about the first container that cannot come up; when `final`, also about one that is merely not ready."""
    for one in found:
        state = one["State"]
        broken = one["RestartCount"] > 1 or (state["Status"] == "exited" and state["ExitCode"] != 0)
        unready = state["Status"] != "exited" and state.get("Health", {}).get("Status") != "healthy"
        if broken or unready:
            logs = compose(
                which, "logs", "--no-log-prefix", "--no-color", "--tail", "5", _service(one)
            )
            refused = (
                state.get("Health", {}).get("Status") == "unhealthy"
                and '"level": "ERROR"' in logs.stdout
            )
            if not (broken or final or refused):
                continue
            return f"{_service(one)}: {_last(logs.stdout) if logs.stdout.strip() else state['Error'] or 'not healthy'}"
    return ""


def up(which: str) -> None:
    """Build, start, wait until all is healthy, say where to look; end with one line if that fails."""
    if compose(which, "ls").returncode:
        sys.exit(
            "there is no Docker engine with Compose in reach: start it, or run ./just demo, which needs none"
        )
    print("building and starting; the first time takes a few minutes", file=sys.stderr)
    started = compose(which, "up", "--build", "--detach")
    deadline = time.monotonic() + PATIENCE
    while True:
        found, late = containers(which), time.monotonic() > deadline
        if cause := trouble(which, found, final=late or started.returncode != 0):
            sys.exit(f"{cause}\n./just logs shows more, ./just down ends what is running")
        if started.returncode:
            sys.exit(f"compose: {_last(started.stderr)}\n./just down ends what is running")
        if all(
            one["State"].get("Health", {}).get("Status", "healthy") == "healthy" for one in found
        ):
            break
        time.sleep(1)
    for one in found:
        if one["State"]["Status"] == "running":
            ports = [
                f"{p[0]['HostIp']}:{p[0]['HostPort']}"
                for p in one["NetworkSettings"]["Ports"].values()
                if p
            ]
            print(f"{_service(one):14} healthy {' '.join(ports)}")
    print(
        "./just watch: faces as they cross    ./just audit: what arrived    ./just logs    ./just down"
    )


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
            words = ["down", "--remove-orphans", *(["--volumes"] if chosen.volumes else [])]
            ended = compose(chosen.which, *words)
            sys.exit(_last(ended.stderr) if ended.returncode else 0)
    except KeyboardInterrupt:
        sys.exit("stopped; ./just down ends what is running")


if __name__ == "__main__":
    main()
