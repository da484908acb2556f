"""The shipped compose files on a real engine, seen from outside: nothing of ours is imported here.

One system serves all tests, in this order; people walk through its picture again and again until the last test.
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
from pathlib import Path
from typing import Any

import boto3
import docker
import pytest
from botocore.client import Config

from tests.support.engine import needed, until

ROOT = Path(__file__).resolve().parents[2]
OURS = ("broker", "detector", "logger", "processor")
RUNNING = ("store", "sample", "cloud-broker", "edge-broker", "processor", "detector", "logger")
KEY = re.compile(r"faces/edge-1/camera/\d{4}/\d\d/\d\d/\d{9}Z-\d{9}\.png")


needed(by="the container tests need a Docker engine with Compose in reach")


class System:
    """A project of its own, made from compose.yaml."""

    def __init__(self) -> None:
        self.project = f"facebridge-test-{secrets.token_hex(4)}"
        self.docker = docker.from_env()
        self.loop = "1"
        self.started: subprocess.CompletedProcess[str] | None = None

    def compose(self, *words: str) -> str:
        """Run Compose and return what it prints; its own log is shown when it fails."""
        command = [
            "docker",
            "compose",
            "-p",
            self.project,
            "-f",
            str(ROOT / "compose" / "compose.yaml"),
            *words,
        ]
        env = self.environment()
        env.pop("COMPOSE_PROJECT_NAME", None)
        ran = subprocess.run(command, capture_output=True, text=True, env=env, timeout=900)
        assert ran.returncode == 0, ran.stderr[-3000:]
        return ran.stdout

    def recipe(self, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
        """`./just up` or `down`, of a project of that name."""
        command = [sys.executable, "-m", "deploy.containers", *words]
        env = self.environment() | {"COMPOSE_PROJECT_NAME": self.project} | more
        return subprocess.run(
            command, capture_output=True, text=True, env=env, cwd=ROOT, timeout=900
        )

    def environment(self) -> dict[str, str]:
        """What Compose is told of the images, and of the sample's people."""
        return dict(os.environ) | {"LOOP": self.loop, "TAG": self.project, "MODE": "every"}

    def container(self, service: str) -> Any:
        filters = {
            "label": [
                f"com.docker.compose.project={self.project}",
                f"com.docker.compose.service={service}",
            ]
        }
        (found,) = self.docker.containers.list(all=True, filters=filters)
        return found

    def healthy(self, *services: str) -> bool:
        states = [self.container(service).attrs["State"] for service in services]
        return all(
            state["Status"] == "running" and state["Health"]["Status"] == "healthy"
            for state in states
        )

    def s3(self) -> Any:
        port = self.container("store").ports["8333/tcp"][0]["HostPort"]
        config = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 5})
        session = boto3.session.Session("local", "local-only", region_name="us-east-1")
        return session.client("s3", endpoint_url=f"http://127.0.0.1:{port}", config=config)

    def faces(self) -> list[str]:
        pages = self.s3().get_paginator("list_objects_v2").paginate(Bucket="faces")
        return [item["Key"] for page in pages for item in page.get("Contents", ())]

    def audit(self) -> dict[str, int]:
        """The last line of an audit; it may be short of waiting ones while people walk by."""
        line = self.compose("run", "--rm", "audit").splitlines()[-1]
        return {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", line)}

    def flows(self) -> None:
        """Wait until faces arrive that were captured after now, then see that none is lost or twice."""
        captured = self.audit()["captured"]
        found = until(lambda: (now := self.audit())["stored"] > captured + 3 and now, 120)
        assert (found["lost"], found["duplicated"]) == (0, 0)

    def crash(self, *services: str) -> None:
        """Kill from outside of the engine, all at once, so that it looks like a crash and not like our wish."""
        before = {service: self.container(service).attrs["State"] for service in services}
        for state in before.values():
            os.kill(state["Pid"], signal.SIGKILL)
        for service, state in before.items():
            until(
                lambda s=service, was=state: (
                    self.container(s).attrs["State"]["StartedAt"] != was["StartedAt"]
                )
            )


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    system = System()
    try:
        system.started = system.recipe("up")
        assert system.started.returncode == 0, system.started.stderr[-3000:]
        yield system
    finally:
        system.compose(
            "--profile",
            "tools",
            "down",
            "--volumes",
            "--remove-orphans",
            "--timeout",
            "3",
            "--rmi",
            "all",
        )


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
    label = {"label": f"com.docker.compose.project={other}"}
    assert not system.docker.containers.list(all=True, filters=label)
    assert not system.docker.volumes.list(filters=label)


def test_a_face_reaches_the_bucket_with_its_facts(system: System) -> None:
    key = until(lambda: [key for key in system.faces() if KEY.fullmatch(key)], 90)[0]
    got = system.s3().get_object(Bucket="faces", Key=key)
    body, facts = got["Body"].read(), got["Metadata"]
    assert body.startswith(b"\x89PNG")
    assert got["ContentType"] == "image/png"
    assert facts["sha256"] == hashlib.sha256(body).hexdigest()
    assert (facts["edge"], facts["camera"], facts["frame"]) == ("edge-1", "camera", "640,480")
    assert int(facts["seq"]) == int(key[-13:-4])
    assert set(facts) == {
        *("edge", "camera", "seq", "captured_at", "sha256"),
        *("box", "frame", "score", "quality", "visit", "shot"),
    }


def test_receipts_come_home(system: System) -> None:
    until(lambda: b'"event": "stored"' in system.container("logger").logs())
    system.flows()


@pytest.mark.parametrize("service", RUNNING)
def test_a_container_has_no_more_rights_than_it_needs(system: System, service: str) -> None:
    attrs = system.container(service).attrs
    host, user = attrs["HostConfig"], attrs["Config"]["User"]
    assert user.split(":")[0] not in ("", "0", "root")
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert not host["Privileged"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert host["Memory"] > 0
    assert host["PidsLimit"] > 0
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    uids = [uid for _, uid in system.container(service).top(ps_args="-eo pid,uid")["Processes"]]
    assert "0" not in uids


@pytest.mark.parametrize("service", RUNNING)
def test_a_container_writes_to_its_volumes_only(system: System, service: str) -> None:
    mounts = {mount["Destination"] for mount in system.container(service).attrs["Mounts"]}
    for change in system.container(service).diff() or []:
        assert any(
            place.startswith(change["Path"])
            for place in (*mounts, "/tmp", "/users.json", "/usr/sbin/docker-init")
        ), change


def test_only_the_store_has_a_port_and_only_here(system: System) -> None:
    for service in RUNNING:
        published = [
            place
            for places in system.container(service).ports.values()
            if places
            for place in places
        ]
        assert [place["HostIp"] for place in published] == (
            ["127.0.0.1"] if service == "store" else []
        )


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
    def size(image: str) -> int:
        return int(system.docker.images.get(image).attrs["Size"])

    base = size("debian:trixie-slim")
    above = {name: (size(f"facebridge/{name}:{system.project}") - base) / 1e6 for name in OURS}
    print({name: f"{size:.0f} MB" for name, size in above.items()})
    assert above["broker"] <= 25
    assert above["logger"] <= 60
    assert above["processor"] <= 90
    assert above["detector"] <= 320


def test_an_image_stops_by_itself_as_process_1(system: System) -> None:
    services = [
        "edge-broker" if name == "broker" else name for name in reversed(OURS)
    ]  # the broker last
    for service in services:
        container = system.container(service)
        began = time.monotonic()
        container.stop(timeout=20)
        assert time.monotonic() - began < 8
        container.reload()
        assert container.attrs["State"]["ExitCode"] == 0
    for service in services:
        system.container(service).start()
    until(lambda: system.healthy(*RUNNING), 90)


def test_the_wan_is_cut_for_a_minute(system: System) -> None:
    wan = system.docker.networks.get(f"{system.project}_wan")
    wan.disconnect(system.container("edge-broker"))
    time.sleep(60)
    during = system.audit()
    assert during["captured"] > during["stored"]
    assert during["lost"] == 0
    wan.connect(system.container("edge-broker"))
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
    until(lambda: system.healthy(*RUNNING), 120)
    system.flows()


def test_all_are_made_anew_with_their_volumes(system: System) -> None:
    captured = system.audit()["captured"]
    system.compose("up", "--detach", "--wait", "--force-recreate")
    assert system.audit()["captured"] >= captured
    system.flows()


def test_the_host_crashes_and_starts_again(system: System) -> None:
    system.crash(*RUNNING)
    until(lambda: system.healthy(*RUNNING), 180)
    system.flows()
    system.compose("restart", "--timeout", "0")
    until(lambda: system.healthy(*RUNNING), 180)
    system.flows()


def test_in_the_end_everything_is_there_once(system: System) -> None:
    system.loop = "0"
    system.compose("up", "--detach", "--wait")  # from now on the room is empty before long
    found = until(
        lambda: (
            (before := system.audit()) and not time.sleep(5) and system.audit() == before and before
        ),
        180,
    )
    assert found["captured"] == found["stored"] > 100
    assert (found["lost"], found["duplicated"]) == (0, 0)
    faces = system.faces()
    assert len({face[-13:] for face in faces}) == len(faces) == found["stored"]
    print(found)
