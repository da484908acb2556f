"""The shipped compose files on a real engine, seen from outside: nothing of ours is imported here.

One system serves all tests, in this order; people walk through its picture again and again until
the last test.
"""

import hashlib
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import docker
import pytest

from tests.support import store
from tests.support.engine import ROOT, needed, run, until
from tests.support.site import Audited, Site

IMAGES = ("broker", "detector", "logger", "processor")
RUNNING = ("store", "sample", "cloud-broker", "edge-broker", "processor", "detector", "logger")
REREAD = ("exec", "-T", "cloud-broker", "sh", "-c", "kill -HUP 1")
KEY = re.compile(r"faces/edge-1/camera/\d{4}/\d\d/\d\d/\d{9}Z-\d{9}\.png")
FACTS = {
    *("edge", "camera", "seq", "captured_at", "sha256"),
    *("box", "frame", "score", "quality", "visit", "shot"),
}

needed(by="the container tests need a Docker engine with Compose in reach")


class System(Site):
    """A project of its own, made from compose.yaml; with `loop` people come again and again."""

    def __init__(self) -> None:
        self.project = f"facebridge-test-{secrets.token_hex(4)}"
        self.docker = docker.from_env()
        self.loop = "1"
        self.started: subprocess.CompletedProcess[str] | None = None

    def compose(self, *words: str) -> str:
        """Run Compose and return what it prints; its own log is shown when it fails."""
        file = str(ROOT / "compose" / "compose.yaml")
        command = ("docker", "compose", "-p", self.project, "-f", file)
        return run(*command, *words, env=self.environment())

    def audit_output(self) -> str:
        return self.compose("run", "--rm", "audit")

    def recipe(self, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
        """`./just up` or `down`, of a project of that name."""
        command = [sys.executable, "-m", "deploy.containers", *words]
        here = {"COMPOSE_PROJECT_NAME": self.project}
        env = os.environ | self.environment() | here | more
        return subprocess.run(
            command, capture_output=True, text=True, env=env, cwd=ROOT, timeout=900
        )

    def environment(self) -> dict[str, str]:
        """What Compose is told of the images, and of the sample's people."""
        return {"LOOP": self.loop, "TAG": self.project, "MODE": "every"}

    def container(self, service: str) -> Any:
        labels = [
            f"com.docker.compose.project={self.project}",
            f"com.docker.compose.service={service}",
        ]
        (found,) = self.docker.containers.list(all=True, filters={"label": labels})
        return found

    def state(self, service: str) -> dict[str, Any]:
        """What the engine says of a container."""
        state: dict[str, Any] = self.container(service).attrs["State"]
        return state

    def healthy(self) -> bool:
        """Whether all containers run and are healthy."""
        states = [self.state(service) for service in RUNNING]
        healthy = [state for state in states if state["Health"]["Status"] == "healthy"]
        return all(state["Status"] == "running" for state in healthy) and healthy == states

    def s3(self) -> Any:
        port = self.container("store").ports["8333/tcp"][0]["HostPort"]
        return store.client(f"http://127.0.0.1:{port}", "local", "local-only")

    def faces(self) -> list[str]:
        return store.keys(self.s3(), "faces", below="faces/")

    def crash(self, *services: str) -> None:
        """Kill from outside of the engine, all at once: a crash, not our wish."""
        before = {service: self.state(service) for service in services}
        for state in before.values():
            os.kill(state["Pid"], signal.SIGKILL)
        until(lambda: all(self.started_since(state, name) for name, state in before.items()))

    def started_since(self, state: dict[str, Any], service: str) -> bool:
        return bool(self.state(service)["StartedAt"] != state["StartedAt"])


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    system = System()
    try:
        system.started = system.recipe("up")
        assert system.started.returncode == 0, system.started.stderr[-3000:]
        yield system
    finally:
        everything = ("--volumes", "--remove-orphans", "--rmi", "all")
        system.compose("--profile", "tools", "down", "--timeout", "3", *everything)


def test_up_shows_what_it_builds_and_what_came_up(system: System) -> None:
    assert system.started
    *parts, last = system.started.stdout.splitlines()
    assert {row.split()[0] for row in parts} == set(RUNNING)
    assert all(row.split()[1] == "healthy" for row in parts)
    (store,) = (row.split()[2] for row in parts if row.startswith("store "))
    assert store == f"127.0.0.1:{system.container('store').ports['8333/tcp'][0]['HostPort']}"
    assert last.startswith("./just watch: faces as they cross")
    first, *build = system.started.stderr.splitlines()
    assert first == "building and starting; the first time takes a few minutes"
    assert any("requirements/detector.txt" in row for row in build)


def test_up_says_in_one_line_what_does_not_come_up(system: System) -> None:
    other = f"{system.project}-other"
    try:
        ran = system.recipe("up", COMPOSE_PROJECT_NAME=other, MIN_FACE="many")
        assert (ran.returncode, ran.stdout) == (1, "")
        said, hint = ran.stderr.splitlines()[-2:]
        assert said.startswith("detector: ")
        assert "MIN_FACE" in said
        assert hint == "./just logs shows more, ./just down ends what is running"
    finally:
        ended = system.recipe("down", "--volumes", COMPOSE_PROJECT_NAME=other)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    label: dict[str, Any] = {"label": f"com.docker.compose.project={other}"}
    assert not system.docker.containers.list(all=True, filters=label)
    assert not system.docker.volumes.list(filters=label)


def test_a_face_reaches_the_bucket_with_its_facts(system: System) -> None:
    key = until(lambda: [key for key in system.faces() if KEY.fullmatch(key)], 90)[0]
    got = system.s3().get_object(Bucket="faces", Key=key)
    body = got["Body"].read()
    facts = got["Metadata"]
    assert body.startswith(b"\x89PNG")
    assert got["ContentType"] == "image/png"
    assert facts["sha256"] == hashlib.sha256(body).hexdigest()
    assert (facts["edge"], facts["camera"], facts["frame"]) == ("edge-1", "camera", "640,480")
    assert int(facts["seq"]) == int(key[-13:-4])
    assert set(facts) == FACTS


def test_receipts_come_home(system: System) -> None:
    until(lambda: b'"event": "stored"' in system.container("logger").logs())
    system.flows()


@pytest.mark.parametrize("service", RUNNING)
def test_a_container_has_no_more_rights_than_it_needs(system: System, service: str) -> None:
    container = system.container(service)
    host = container.attrs["HostConfig"]
    user = container.attrs["Config"]["User"]
    assert user.split(":")[0] not in ("", "0", "root")
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert not host["Privileged"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert host["Memory"] > 0
    assert host["PidsLimit"] > 0
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert "0" not in [uid for _, uid in container.top(ps_args="-eo pid,uid")["Processes"]]


@pytest.mark.parametrize("service", RUNNING)
def test_a_container_writes_to_its_volumes_only(system: System, service: str) -> None:
    container = system.container(service)
    mounts = [mount["Destination"] for mount in container.attrs["Mounts"]]
    places = (*mounts, "/tmp", "/users.json", "/usr/sbin/docker-init")
    for change in container.diff() or []:
        assert any(place.startswith(change["Path"]) for place in places), change


def test_only_the_store_has_a_port_and_only_here(system: System) -> None:
    for service in RUNNING:
        published = [place for place in system.container(service).ports.values() if place]
        addresses = [place["HostIp"] for places in published for place in places]
        assert addresses == (["127.0.0.1"] if service == "store" else [])


def test_only_the_brokers_meet(system: System) -> None:
    networks: dict[str, set[str]] = {}
    for service in RUNNING:
        joined = system.container(service).attrs["NetworkSettings"]["Networks"]
        networks[service] = {name.removeprefix(f"{system.project}_") for name in joined}
    assert networks == {
        "sample": {"edge"},
        "detector": {"edge", "camera"},
        "logger": {"edge"},
        "edge-broker": {"edge", "wan"},
        "cloud-broker": {"wan", "cloud"},
        "processor": {"cloud"},
        "store": {"cloud"},
    }


def test_images_are_small(system: System) -> None:
    def megabytes(image: str) -> float:
        return float(system.docker.images.get(image).attrs["Size"]) / 1e6

    base = megabytes("debian:trixie-slim")
    above = {name: megabytes(f"facebridge/{name}:{system.project}") - base for name in IMAGES}
    print({name: f"{size:.0f} MB" for name, size in above.items()})
    assert above["broker"] <= 25
    assert above["logger"] <= 60
    assert above["processor"] <= 90
    assert above["detector"] <= 320


def test_an_image_stops_by_itself_as_process_1(system: System) -> None:
    services = ("processor", "logger", "detector", "edge-broker")  # the broker last
    for service in services:
        container = system.container(service)
        began = time.monotonic()
        container.stop(timeout=20)
        assert time.monotonic() - began < 8
        container.reload()
        assert container.attrs["State"]["ExitCode"] == 0
    for service in services:
        system.container(service).start()
    until(system.healthy, 90)


def test_the_wan_is_cut_for_a_minute(system: System) -> None:
    wan = system.docker.networks.get(f"{system.project}_wan")
    wan.disconnect(system.container("edge-broker"))
    time.sleep(60)
    during = system.audit()
    assert during.captured > during.stored
    assert during.lost == 0
    wan.connect(system.container("edge-broker"))
    system.flows()


def test_an_edge_that_stays_silent_is_silent_and_loses_nothing(system: System) -> None:
    said = system.compose("run", "--rm", "enrol", "identity.revoke", "--pki", "/pki", "edge-1")
    assert "edge-1: certificates revoked: 1" in said
    system.compose(*REREAD)
    system.stays_silent()
    system.compose("run", "--rm", "enrol", "identity", "--force", "--pki", "/pki", "edge-1")
    system.compose(*REREAD)
    system.compose("restart", "edge-broker")
    system.flows()


@pytest.mark.parametrize(
    "services",
    [("sample", "edge-broker"), ("detector", "cloud-broker", "logger"), ("processor", "store")],
)
def test_containers_hang_for_a_while_and_are_killed(
    system: System, services: tuple[str, ...]
) -> None:
    for service in services:
        system.container(service).pause()
    time.sleep(5)
    for service in services:
        system.container(service).unpause()
    time.sleep(1)
    system.crash(*services)
    until(system.healthy, 120)
    system.flows()


def test_all_are_made_anew_with_their_volumes(system: System) -> None:
    captured = system.audit().captured
    system.compose("up", "--detach", "--wait", "--force-recreate")
    assert system.audit().captured >= captured
    system.flows()


def test_the_host_crashes_and_starts_again(system: System) -> None:
    system.crash(*RUNNING)
    until(system.healthy, 180)
    system.flows()
    system.compose("restart", "--timeout", "0")
    until(system.healthy, 180)
    system.flows()


def test_in_the_end_everything_is_there_once(system: System) -> None:
    system.loop = "0"
    system.compose("up", "--detach", "--wait")  # from now on the room is empty before long

    def at_rest() -> Audited | None:
        before = system.audit()
        time.sleep(5)
        return before if system.audit() == before else None

    found = until(at_rest, 180)
    print(found)
    assert found.captured == found.stored > 100
    assert found.sound
    faces = system.faces()
    assert len({face[-13:] for face in faces}) == len(faces) == found.stored
