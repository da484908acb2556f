"""The Kubernetes manifests really run: both halves, as rendered, on podman.

Podman knows everything in them but Service, NetworkPolicy, HorizontalPodAutoscaler and fsGroup. A
container with podman in it stands for the nodes. Networks stand for what Services do: a pod has the
names of the Services that select it. Nothing of ours is imported here.
"""

import copy
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
import yaml
from cryptography import x509

from tests.support.engine import ROOT, needed, run, succeeds, until
from tests.support.site import Audited, Site

TARGETS = ("broker", "detector", "logger", "processor", "sample", "store")
# Which networks each pod is on: only the two brokers meet on the wan. There are two cells.
NETWORKS = {
    "cell-1": ("cloud", "wan"),
    "cell-2": ("cloud", "wan"),
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

CONFINED_BY = ("seccomp", "apparmor", "systempaths")

needed(by="the pod tests need a Docker engine in reach")


class Node(Site):
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
        build = ("docker", "compose", "-f", "compose/compose.yaml", "build", "--quiet")
        run(*build, env={"TAG": self.name})
        image = f"facebridge/node:{self.name}"
        run("docker", "build", "-q", "-t", image, "-f", "tests/pods/node.Dockerfile", "tests/pods")
        unconfined = [f"--security-opt={what}=unconfined" for what in CONFINED_BY]
        rights = ["--cgroupns=host", "--cap-add=ALL", "--cap-drop=SYS_RESOURCE", *unconfined]
        places = ["-v", "/sys/fs/cgroup:/sys/fs/cgroup", "-v", f"{self.name}:/var/lib/containers"]
        run("docker", "run", "-d", "--init", "--name", self.name, *rights, *places, image)
        images = [f"facebridge/{target}:{self.name}" for target in TARGETS]
        with subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE) as archive:
            self.podman("load", "--quiet", stdin=archive.stdout)
        for network in ("edge", "wan", "cloud"):
            self.podman("network", "create", network)
        users = (ROOT / "compose" / "store.json").read_text()
        self.shell("cat >/users.json && chmod a+r /users.json", text=users)
        store = ["--network", "cloud:alias=store", "-v", "/users.json:/users.json"]
        store.append(f"localhost/facebridge/store:{self.name}")
        self.podman("run", "-d", "--name", "store", *store, "-s3.config=/users.json")

    def end(self) -> None:
        """Remove everything; what is not there is no matter."""
        podman = ("docker", "exec", self.name, "podman")
        images = [f"facebridge/{target}:{self.name}" for target in (*TARGETS, "node")]
        succeeds(*podman, "pod", "rm", "-af", "-t", "0")
        succeeds(*podman, "rm", "-af", "-t", "0")
        succeeds("docker", "rm", "-f", self.name)
        succeeds("docker", "volume", "rm", self.name)
        succeeds("docker", "rmi", *images)

    def podman(self, *words: str, text: str | None = None, stdin: IO[bytes] | None = None) -> str:
        return run("docker", "exec", "-i", self.name, "podman", *words, text=text, stdin=stdin)

    def shell(self, line: str, text: str | None = None) -> str:
        return run("docker", "exec", "-i", self.name, "sh", "-euc", line, text=text)

    def named(self, kind: str, name: str) -> dict[str, Any]:
        """The one manifest of a kind with this name."""
        (found,) = [thing for thing in self.of_kind(kind) if thing["metadata"]["name"] == name]
        return found

    def of_kind(self, *kinds: str) -> list[dict[str, Any]]:
        return [thing for thing in self.things if thing["kind"] in kinds]

    def play(self, app: str) -> None:
        """Make the pod of a Deployment, with what a cluster would do for it."""
        deployment = copy.deepcopy(self.deployment(app))
        deployment["metadata"]["name"] = app
        pod = deployment["spec"]["template"]["spec"]
        deployment["spec"]["replicas"] = 1
        # Podman would open ports on the node; in Kubernetes they are mere words.
        deployment["spec"]["template"] = _without_ports(deployment["spec"]["template"])
        things = self.of_kind("ConfigMap", "Secret", "PersistentVolumeClaim")
        manifests = yaml.safe_dump_all([*things, deployment])
        networks = [f"--network={network}{self.aliases(app)}" for network in NETWORKS[app]]
        self.podman("kube", "play", "--start=false", *networks, "-", text=manifests)
        group = pod["securityContext"].get("fsGroup")
        if group:
            volumes = "/var/lib/containers/storage/volumes/*/_data"
            self.shell(f"chgrp -R {group} {volumes}; chmod g+rwX {volumes}")
        self.podman("pod", "start", f"{app}-pod")

    def deployment(self, app: str) -> dict[str, Any]:
        """Whose pod it is."""
        return self.named("Deployment", app.rstrip("-0123456789"))

    def aliases(self, app: str) -> str:
        """The names by which others find a pod, as podman wants them after a network's.

        They are the Services that select it; cells are what the edge's Service stands for. Who
        asks for a name that several pods have gets one of them.
        """
        deployment = self.deployment(app)["metadata"]["name"]
        names = [
            service["metadata"]["name"]
            for service in self.of_kind("Service")
            if service["spec"].get("selector") == {"app": deployment}
        ]
        if deployment == "cell":
            names.append("cloud-broker")
        return ":" + ",".join(f"alias={name}" for name in names) if names else ""

    def kill(self, app: str) -> None:
        """The pod is gone at once, as with a lost node, and made anew as its Deployment would."""
        self.podman("pod", "rm", "--force", "--time", "0", f"{app}-pod")
        self.play(app)

    def bring_access_rules(self) -> None:
        """What a kubelet does with a Secret that has changed, and then a SIGHUP for each cell."""
        place = "/var/lib/containers/storage/volumes/access-rules/_data"
        for name in ("cloud.acl", "crl.pem"):
            text = (self.folder / "pki" / "access_rules" / name).read_text()
            self.shell(f"cat >{place}/{name}", text=text)
        for app in NETWORKS:
            if app.startswith("cell"):
                self.podman("exec", f"{app}-pod-cloud-broker", "sh", "-c", "kill -HUP 1")

    def ready(self, app: str) -> bool:
        """What the readiness probe of the manifest says."""
        pod = self.deployment(app)["spec"]["template"]["spec"]
        (container,) = [one for one in pod["containers"] if "readinessProbe" in one]
        words = asked_by(container["readinessProbe"])
        name = f"{app}-pod-{container['name']}"
        return succeeds("docker", "exec", self.name, "podman", "exec", name, *words)

    def audit_output(self) -> str:
        image = f"localhost/facebridge/sample:{self.name}"
        place = ("--rm", "--network", "cloud", "-v", "outbox:/outbox", *KEYS)
        words = ("audit", "outbox", "/outbox/outbox.db", "--endpoint", "http://store:8333")
        return self.podman("run", *place, image, *words)


def asked_by(probe: dict[str, Any]) -> list[str]:
    """The command that asks what a probe would ask."""
    if "exec" in probe:
        words: list[str] = probe["exec"]["command"]
        return words
    if "httpGet" in probe:
        url = f"http://127.0.0.1:{probe['httpGet']['port']}{probe['httpGet']['path']}"
        return ["python3", "-c", f"import urllib.request as u; u.urlopen('{url}')"]
    address = ("127.0.0.1", probe["tcpSocket"]["port"])
    return ["python3", "-c", f"import socket; socket.create_connection({address})"]


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


@pytest.mark.parametrize("app", NETWORKS)
def test_every_pod_gets_ready(node: Node, app: str) -> None:
    until(lambda: node.ready(app), 120)


def test_faces_arrive_and_receipts_come_home(node: Node) -> None:
    node.flows()
    until(lambda: '"event": "stored"' in node.shell("podman logs logger-pod-logger 2>&1"))


def test_a_site_with_a_secret_of_the_old_way_changes_over(node: Node) -> None:
    before = node.audit()
    serial = node.serial()
    assert node.apply(node.render()) == {"edge-broker", "detector"}
    assert node.serial() == serial
    node.flows()
    assert node.audit().captured > before.captured, "the outbox did not survive"


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
    assert node.audit().captured > before.captured, "the outbox did not survive"


def test_an_edge_that_stays_silent_is_silent_and_loses_nothing(node: Node) -> None:
    pki = str(node.folder / "pki")
    run("python", "-m", "identity.revoke", "--pki", pki, "edge-07")
    node.bring_access_rules()
    node.stays_silent()
    node.enrol("edge-07", "--force")
    node.bring_access_rules()
    node.apply(node.render())
    node.flows()


def test_in_the_end_nothing_is_lost(node: Node) -> None:
    node.podman("pod", "rm", "--force", "--time", "0", "sample-pod")

    def drained() -> Audited | None:
        now = node.audit()
        return now if now.drained else None

    found = until(drained)
    print(found)
    assert found.captured > 30
    assert found.sound
