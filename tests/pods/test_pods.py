"""The Kubernetes manifests really run: both halves, as rendered, on podman, which knows everything in them but Service,
NetworkPolicy, HorizontalPodAutoscaler and fsGroup.

A container with podman in it stands for the nodes. Networks stand for what Services do: a pod has the names of the
Services that select it. Nothing of ours is imported here.
"""

import copy
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509

from tests.support.engine import needed, until

ROOT = Path(__file__).resolve().parents[2]
TARGETS = ("broker", "detector", "logger", "processor", "sample", "store")
# Which networks each pod is on: only the two brokers meet on the wan.
NETWORKS = {
    "cloud-broker": ("cloud", "wan"),
    "processor": ("cloud",),
    "edge-broker": ("edge", "wan"),
    "logger": ("edge",),
    "sample": ("edge",),
    "detector": ("edge",),
}
KEYS = [
    "-e",
    "AWS_ACCESS_KEY_ID=local",
    "-e",
    "AWS_SECRET_ACCESS_KEY=local-only",
    "-e",
    "AWS_DEFAULT_REGION=us-east-1",
]


needed(by="the pod tests need a Docker engine in reach")


def run(*command: str, **more: Any) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=ROOT, **more)
    assert ran.returncode == 0, f"{command[:6]}: {ran.stderr[-3000:]}"
    return ran.stdout


class Node:
    """A container in which podman runs the pods of both halves."""

    def __init__(self, folder: Path) -> None:
        self.name = f"facebridge-test-{secrets.token_hex(4)}"
        self.folder = folder
        self._write_in()
        self.enrol("cloud-broker", "processor", "edge-07")
        self.things = self.render()

    def _write_in(self) -> None:
        """What a newcomer edits: own images, the sample for a camera, a store of one's own."""
        for part in ("k8s", "mosquitto"):
            shutil.copytree(ROOT / part, self.folder / part)
        edits = {
            "camera/device-plugin\n": "camera/sample\n",
            "# components: [keys, load-balancer]": "components: [keys]",
            "newTag: dev": f"newTag: {self.name}",
            "MODE=best": "MODE=every",  # many captures
            "BUCKET=my-faces, S3_REGION=eu-central-1": (
                "BUCKET=faces, CREATE_BUCKET=1, S3_REGION=us-east-1,"
                " S3_ENDPOINT_URL=http://store:8333"
            ),
        }
        for file in (self.folder / "k8s").rglob("*.yaml"):
            text = file.read_text()
            for old, new in edits.items():
                text = text.replace(old, new)
            file.write_text(text)
        keys = "AWS_ACCESS_KEY_ID=local\nAWS_SECRET_ACCESS_KEY=local-only\n"
        (self.folder / "k8s/cloud/keys/keys.env").write_text(keys)

    def enrol(self, *words: str) -> None:
        pki = str(self.folder / "pki")
        run("python", "-m", "identity", "--pki", pki, "--format", "k8s", *words)

    def render(self) -> list[dict[str, Any]]:
        """The objects of both halves, as kubectl would send them now."""
        folders = [str(self.folder / "k8s" / half) for half in ("edge", "cloud")]
        halves = [run("kubectl", "kustomize", folder) for folder in folders]
        return [thing for half in halves for thing in yaml.safe_load_all(half)]

    def render_with_old_secret(self) -> list[dict[str, Any]]:
        """The same for a site whose Secret `edge` was made by hand, with a name of its own."""
        (secret,) = (
            thing
            for thing in self.things
            if thing["kind"] == "Secret" and thing["metadata"]["name"].startswith("edge-")
        )
        name = secret["metadata"]["name"]
        return list(yaml.safe_load_all(yaml.safe_dump_all(self.things).replace(name, "edge")))

    def apply(self, things: list[dict[str, Any]]) -> set[str]:
        """What a cluster does: a Deployment with another template gets a new pod. Says which."""
        before = self._templates()
        self.things = things
        now = self._templates()
        changed = {app for app in now if now[app] != before[app]}
        for app in changed:
            self.kill(app)
        return changed

    def _templates(self) -> dict[str, str]:
        return {
            thing["metadata"]["name"]: yaml.safe_dump(_without_ports(thing["spec"]["template"]))
            for thing in self.things
            if thing["kind"] == "Deployment"
        }

    def serial(self) -> str:
        """The serial number of the certificate that the edge's broker has before it."""
        command = "podman exec edge-broker-pod-edge-broker cat /certs/tls.crt"
        crt = x509.load_pem_x509_certificate(self.shell(command).encode())
        return str(crt.serial_number)

    def start(self) -> None:
        env = os.environ | {"TAG": self.name}
        run("docker", "compose", "-f", "compose/compose.yaml", "build", "--quiet", env=env)
        image = f"facebridge/node:{self.name}"
        run("docker", "build", "-q", "-t", image, "-f", "tests/pods/node.Dockerfile", "tests/pods")
        free = [
            f"--security-opt={what}=unconfined" for what in ("seccomp", "apparmor", "systempaths")
        ]
        rights = ["--cap-add=ALL", "--cap-drop=SYS_RESOURCE", *free]
        places = ["-v", "/sys/fs/cgroup:/sys/fs/cgroup", "-v", f"{self.name}:/var/lib/containers"]
        run(
            "docker",
            "run",
            "-d",
            "--init",
            "--name",
            self.name,
            "--cgroupns=host",
            *rights,
            *places,
            image,
        )
        images = [f"facebridge/{target}:{self.name}" for target in TARGETS]
        with subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE) as archive:
            self.podman("load", "--quiet", stdin=archive.stdout)
        for network in ("edge", "wan", "cloud"):
            self.podman("network", "create", network)
        self.shell(
            "cat >/users.json && chmod a+r /users.json",
            input=(ROOT / "compose" / "store.json").read_text(),
        )
        store = ["--network", "cloud:alias=store", "-v", "/users.json:/users.json"]
        store.append(f"localhost/facebridge/store:{self.name}")
        self.podman("run", "-d", "--name", "store", *store, "-s3.config=/users.json")

    def end(self) -> None:
        subprocess.run(
            ["docker", "exec", self.name, "podman", "pod", "rm", "-af", "-t", "0"],
            capture_output=True,
        )
        subprocess.run(
            ["docker", "exec", self.name, "podman", "rm", "-af", "-t", "0"], capture_output=True
        )
        subprocess.run(["docker", "rm", "-f", self.name], capture_output=True)
        subprocess.run(["docker", "volume", "rm", self.name], capture_output=True)
        images = [f"facebridge/{target}:{self.name}" for target in (*TARGETS, "node")]
        subprocess.run(["docker", "rmi", *images], capture_output=True)

    def podman(self, *words: str, **more: Any) -> str:
        return run("docker", "exec", "-i", self.name, "podman", *words, **more)

    def shell(self, line: str, **more: Any) -> str:
        return run("docker", "exec", "-i", self.name, "sh", "-euc", line, **more)

    def play(self, app: str) -> None:
        """Make the pod of a Deployment, with what a cluster would do for it."""
        (deployment,) = (
            t for t in self.things if t["kind"] == "Deployment" and t["metadata"]["name"] == app
        )
        pod = deployment["spec"]["template"]["spec"]
        deployment["spec"]["replicas"] = 1
        # Podman would open ports on the node; in Kubernetes they are mere words.
        deployment["spec"]["template"] = _without_ports(deployment["spec"]["template"])
        things = [
            t for t in self.things if t["kind"] in ("ConfigMap", "Secret", "PersistentVolumeClaim")
        ]
        services = [
            t
            for t in self.things
            if t["kind"] == "Service" and t["spec"].get("selector") == {"app": app}
        ]
        names = "".join(f"alias={t['metadata']['name']}," for t in services).rstrip(",")
        networks = [
            word
            for net in NETWORKS[app]
            for word in ("--network", f"{net}:{names}" if names else net)
        ]
        self.podman(
            "kube",
            "play",
            "--start=false",
            *networks,
            "-",
            input=yaml.safe_dump_all([*things, deployment]),
        )
        group = pod["securityContext"].get("fsGroup")
        volumes = "/var/lib/containers/storage/volumes/*/_data"
        self.shell(f"chgrp -R {group} {volumes}; chmod g+rwX {volumes}" if group else "true")
        self.podman("pod", "start", f"{app}-pod")

    def kill(self, app: str) -> None:
        """The pod is gone at once, as with a lost node or an eviction, and made anew as its Deployment would."""
        self.podman("pod", "rm", "--force", "--time", "0", f"{app}-pod")
        self.play(app)

    def ready(self, app: str) -> bool:
        """What the readiness probe of the manifest says."""
        (pod,) = (
            t["spec"]["template"]["spec"]
            for t in self.things
            if t["kind"] == "Deployment" and t["metadata"]["name"] == app
        )
        probe = pod["containers"][0]["readinessProbe"]
        if "exec" in probe:
            words = probe["exec"]["command"]
        elif "httpGet" in probe:
            get = probe["httpGet"]
            words = [
                "python3",
                "-c",
                f"import urllib.request as u; u.urlopen('http://127.0.0.1:{get['port']}{get['path']}')",
            ]
        else:
            port = probe["tcpSocket"]["port"]
            words = [
                "python3",
                "-c",
                f"import socket; socket.create_connection(('127.0.0.1', {port}))",
            ]
        command = ["docker", "exec", self.name, "podman", "exec", f"{app}-pod-{app}", *words]
        return subprocess.run(command, capture_output=True).returncode == 0

    def audit(self) -> dict[str, int]:
        words = [
            "audit",
            "outbox",
            "/outbox/outbox.db",
            "--endpoint",
            "http://store:8333",
        ]
        image = f"localhost/facebridge/sample:{self.name}"
        line = self.podman(
            "run", "--rm", "--network", "cloud", "-v", "outbox:/outbox", *KEYS, image, *words
        ).splitlines()[-1]
        return {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", line)}

    def flows(self) -> None:
        """Faces that were captured after now arrive."""
        captured = self.audit()["captured"]
        found = until(lambda: (now := self.audit())["stored"] > captured + 3 and now, 90)
        assert (found["lost"], found["duplicated"]) == (0, 0)


def _without_ports(template: dict[str, Any]) -> dict[str, Any]:
    template = copy.deepcopy(template)
    for container in template["spec"]["containers"]:
        container.pop("ports", None)
    return template


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    node = Node(tmp_path_factory.mktemp("pods"))
    try:
        node.start()
        node.things = node.render_with_old_secret()
        for app in NETWORKS:
            node.play(app)
        yield node
    finally:
        node.end()


def test_every_pod_gets_ready(node: Node) -> None:
    for app in NETWORKS:
        until(lambda app=app: node.ready(app), 120)


def test_faces_arrive_and_receipts_come_home(node: Node) -> None:
    node.flows()
    until(lambda: '"event": "stored"' in node.shell("podman logs logger-pod-logger 2>&1"))


def test_a_site_with_a_secret_of_the_old_way_changes_over(node: Node) -> None:
    before = node.audit()
    serial = node.serial()
    assert node.apply(node.render()) == {"edge-broker", "detector"}
    assert node.serial() == serial
    node.flows()
    assert node.audit()["captured"] > before["captured"], "the outbox did not survive"


def test_another_certificate_reaches_the_pods_that_use_it(node: Node) -> None:
    serial = node.serial()
    assert node.apply(node.render()) == set()
    node.enrol("edge-07", "--force")
    assert node.apply(node.render()) == {"edge-broker", "detector"}
    assert node.serial() != serial
    node.flows()


@pytest.mark.parametrize("app", NETWORKS)
def test_a_pod_may_be_killed(node: Node, app: str) -> None:
    before = node.audit()
    node.kill(app)
    node.flows()
    assert node.audit()["captured"] > before["captured"], "the outbox did not survive"


def test_in_the_end_nothing_is_lost(node: Node) -> None:
    node.podman("pod", "rm", "--force", "--time", "0", "sample-pod")
    found = until(lambda: (now := node.audit())["stored"] == now["captured"] and now)
    print(" ".join(f"{name}={number}" for name, number in found.items()))
    assert found["captured"] > 30
    assert (found["lost"], found["duplicated"]) == (0, 0)
