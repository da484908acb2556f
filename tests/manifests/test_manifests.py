"""The Kubernetes manifests: they render, they are valid, and they keep our own rules."""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = ("1.28", "1.34")  # the oldest and the newest that we claim
CAMERAS = ("device-plugin", "host-path", "stream", "sample")
OVERLAYS = [
    *(f"edge/{camera}" for camera in CAMERAS),
    *(f"cloud/{way}" for way in ("node-port", "load-balancer", "keys")),
]
ENV_FILES = {
    "edge/camera/stream/camera.env": "SOURCE=rtsp://user:password@192.0.2.1/stream1\n",
    "cloud/keys/keys.env": "AWS_ACCESS_KEY_ID=a\nAWS_SECRET_ACCESS_KEY=b\n",
}
PEM = (".crt", ".key")
NAMES = ("edge-07", "cloud-broker", "processor")

if not shutil.which("kubectl") and not os.environ.get("REQUIRE_ENGINE"):
    pytest.skip("NOT RUN: the manifest tests need kubectl", allow_module_level=True)


Things = list[dict[str, Any]]


@cache
def render(overlay: str) -> Things:
    """The objects of a half with one of its components."""
    with tempfile.TemporaryDirectory() as folder:
        return kustomize(checkout(Path(folder)), overlay)


def checkout(folder: Path) -> Path:
    """A checkout of one's own, with identities and what else a person writes."""
    for part in ("k8s", "mosquitto"):
        shutil.copytree(ROOT / part, folder / part)
    for file, text in ENV_FILES.items():
        (folder / "k8s" / file).write_text(text)
    enrol(folder / "pki", *NAMES)
    return folder


def enrol(pki: Path, *words: str) -> str:
    """Enrol for Kubernetes; returns what is said. Nothing is printed for a pipe."""
    command = [sys.executable, "-m", "identity", *words, "--pki", str(pki), "--format", "k8s"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr
    return ran.stderr


def kustomize(folder: Path, overlay: str) -> Things:
    """Render with the component as a person would write it in."""
    half, component = overlay.split("/")
    file = folder / "k8s" / half / "kustomization.yaml"
    shipped = file.read_text()
    text = shipped.replace("camera/device-plugin\n", f"camera/{component}\n")
    if component in ("load-balancer", "keys"):
        text += f"\ncomponents: [{component}]\n"
    file.write_text(text)
    ran = subprocess.run(["kubectl", "kustomize", str(file.parent)], capture_output=True, text=True)
    file.write_text(shipped)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    return list(yaml.safe_load_all(ran.stdout))


def pods(overlay: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for thing in render(overlay):
        if thing["kind"] == "Deployment":
            yield thing["metadata"]["name"], thing["spec"]["template"]["spec"]


def names(overlay: str, kind: str) -> set[str]:
    return {thing["metadata"]["name"] for thing in render(overlay) if thing["kind"] == kind}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_is_valid(overlay: str, version: str) -> None:
    for thing in render(overlay):
        kubernetes_validate.validate(thing, version, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_keeps_our_rules(overlay: str) -> None:
    for name, pod in pods(overlay):
        assert pod["automountServiceAccountToken"] is False
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert any("readinessProbe" in container for container in pod["containers"])
        for container in pod["containers"]:
            privileged = (overlay, name) == ("edge/host-path", "detector")
            keeps_our_rules(container, privileged=privileged)
        if name == "cell":
            assert [one["name"] for one in pod["containers"]] == ["cloud-broker", "processor"]
        else:
            assert [one["name"] for one in pod["containers"]] == [name]
        if (overlay, name) != ("edge/host-path", "detector"):
            assert not any("hostPath" in volume for volume in pod.get("volumes", ()))


def keeps_our_rules(container: dict[str, Any], *, privileged: bool) -> None:
    assert ":" in container["image"]
    assert not container["image"].endswith(":latest")
    assert container["image"].startswith("localhost/"), "a name that somebody else could publish"
    assert container["resources"]["limits"]["memory"]
    assert {"cpu", "memory"} <= set(container["resources"]["requests"])
    assert container["livenessProbe"]
    own = container["securityContext"]
    assert own["readOnlyRootFilesystem"] is True
    if privileged:
        assert own["privileged"] is True
        return
    assert own["allowPrivilegeEscalation"] is False
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert "privileged" not in own


REFERENCES = {
    "configMap": ("ConfigMap", "name"),
    "configMapRef": ("ConfigMap", "name"),
    "secret": ("Secret", "secretName"),
    "secretRef": ("Secret", "name"),
    "secretKeyRef": ("Secret", "name"),
    "persistentVolumeClaim": ("PersistentVolumeClaim", "claimName"),
}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_is_named_is_there(overlay: str) -> None:
    there = {(thing["kind"], thing["metadata"]["name"]) for thing in render(overlay)}
    if overlay in ("cloud/node-port", "cloud/load-balancer"):
        there.add(("Secret", "store"))  # optional, and made by hand
    for _, pod in pods(overlay):
        assert set(references(pod)) <= there
    used = {name for _, pod in pods(overlay) for kind, name in references(pod) if kind == "Secret"}
    assert names(overlay, "Secret") <= used


def references(part: Any) -> Iterator[tuple[str, str]]:
    """Kind and name of each ConfigMap, Secret and claim that a part of a pod names."""
    if isinstance(part, list):
        for each in part:
            yield from references(each)
    if isinstance(part, dict):
        for key, value in part.items():
            if key in REFERENCES:
                kind, field = REFERENCES[key]
                yield kind, value[field]
            else:
                yield from references(value)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_names_are_asked_of_the_cluster_only(overlay: str) -> None:
    policies = [thing["spec"] for thing in render(overlay) if thing["kind"] == "NetworkPolicy"]
    rules = [rule for policy in policies for rule in policy.get("egress", ())]
    named = [rule for rule in rules if any(port["port"] == 53 for port in rule["ports"])]
    (target,) = [target for rule in named for target in rule["to"]]
    assert target["namespaceSelector"] == {
        "matchLabels": {"kubernetes.io/metadata.name": "kube-system"}
    }
    assert target["podSelector"] == {"matchLabels": {"k8s-app": "kube-dns"}}


def test_only_the_autoscaler_says_how_many_cells_there_are() -> None:
    things = by_name(render("cloud/node-port"))
    autoscaler = things["HorizontalPodAutoscaler", "cell"]["spec"]
    assert autoscaler["scaleTargetRef"]["name"] == "cell"
    assert autoscaler["minReplicas"] == 2
    assert "replicas" not in things["Deployment", "cell"]["spec"]


def test_cells_are_replaced_one_by_one_and_a_new_one_comes_first() -> None:
    things = by_name(render("cloud/node-port"))
    cell = things["Deployment", "cell"]["spec"]
    assert cell["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    budget = things["PodDisruptionBudget", "cell"]["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"] == cell["selector"]


def test_nobody_but_its_own_processor_reaches_a_cells_inner_listener() -> None:
    things = by_name(render("cloud/node-port"))
    services = [thing["spec"] for (kind, _), thing in things.items() if kind == "Service"]
    policies = [thing["spec"] for (kind, _), thing in things.items() if kind == "NetworkPolicy"]
    rules = [rule for policy in policies for rule in policy.get("ingress", ())]
    opened = {port["port"] for one in (*services, *rules) for port in one["ports"]}
    assert opened == {8883, 9090}


def test_the_configuration_is_the_shipped_one() -> None:
    for overlay in ("edge/sample", "cloud/node-port"):
        (conf,) = [
            thing
            for thing in render(overlay)
            if thing["kind"] == "ConfigMap" and "edge.conf" in thing["data"]
        ]
        for name, text in conf["data"].items():
            assert text == (ROOT / "mosquitto" / name).read_text()


def test_names_are_those_in_the_confs() -> None:
    assert "address cloud-broker:8883\n" in (ROOT / "mosquitto" / "edge.conf").read_text()
    assert {"cloud-broker", "edge-broker"} <= names("edge/stream", "Service")
    ports = {
        thing["metadata"]["name"]: thing["spec"]["ports"][0]
        for thing in render("cloud/node-port")
        if thing["kind"] == "Service"
    }
    door = ports["cloud-broker-edges"]
    assert (door["port"], door["nodePort"]) == (8883, 32746)


def test_an_enrolment_makes_a_kustomization(tmp_path: Path) -> None:
    pki = tmp_path / "pki"
    said = enrol(pki, *NAMES, "edge-08")
    for name in (*NAMES, "edge-08"):
        half = "edge" if name.startswith("edge") else "cloud"
        assert f"pki/{name}: " in said
        assert f"k8s/{half}/kustomization.yaml names it" in said
        (secret,) = rendered(pki / name)
        kubernetes_validate.validate(secret, VERSIONS[0], strict=True)
        namespace = "facebridge" if half == "edge" else "facebridge-cloud"
        assert secret["metadata"]["namespace"] == namespace
        assert secret["metadata"]["name"].startswith("edge-" if half == "edge" else f"{name}-")
        assert texts(secret) == expected(pki / name)
        assert ("EDGE" in secret["data"]) is (half == "edge")
    (rules,) = rendered(pki / "access_rules")
    assert rules["metadata"]["name"] == "access-rules"  # the same, whatever is in it
    assert set(texts(rules)) == {"cloud.acl", "crl.pem"}
    before = {file: file.read_bytes() for file in pki.rglob("*.*")}
    enrol(pki, *NAMES)
    assert {file: file.read_bytes() for file in pki.rglob("*.*")} == dict(before)


def rendered(folder: Path) -> Things:
    ran = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    return list(yaml.safe_load_all(ran.stdout))


def texts(secret: dict[str, Any]) -> dict[str, str]:
    """What a program that uses the Secret sees."""
    return {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}


def expected(folder: Path) -> dict[str, str]:
    """What the bundle holds."""
    files = {file.name: file.read_text() for file in folder.iterdir() if file.suffix in PEM}
    edge = (folder / "edge.env").read_text().strip() if (folder / "edge.env").exists() else ""
    return {**files, "EDGE": edge.removeprefix("EDGE=")} if edge else files


def test_another_certificate_is_another_pod(tmp_path: Path) -> None:
    folder = checkout(tmp_path)
    before = by_name(kustomize(folder, "edge/sample"))
    assert by_name(kustomize(folder, "edge/sample")) == before
    enrol(folder / "pki", "edge-07", "--force")
    after = by_name(kustomize(folder, "edge/sample"))
    gone, come = set(before) - set(after), set(after) - set(before)
    assert [kind for kind, _ in (*gone, *come)] == ["Secret", "Secret"]
    changed = {key for key in set(before) & set(after) if before[key] != after[key]}
    assert changed == {("Deployment", "edge-broker"), ("Deployment", "detector")}
    ((_, old),) = gone
    ((_, new),) = come
    for key in changed:
        assert json.dumps(before[key]).replace(old, new) == json.dumps(after[key])


def test_a_site_with_a_secret_of_the_old_way_goes_on(tmp_path: Path) -> None:
    folder = checkout(tmp_path)
    new = by_name(kustomize(folder, "edge/sample"))
    file = folder / "k8s/edge/kustomization.yaml"
    file.write_text(file.read_text().replace("  - ../../pki/edge-07\n", ""))
    old = by_name(kustomize(folder, "edge/sample"))
    (added,) = set(new) - set(old)
    assert added[0] == "Secret"
    assert not set(old) - set(new)
    # What was made by hand is not ours, so that nothing takes it away while a pod still uses it.
    assert new[added]["metadata"]["labels"] == {"app.kubernetes.io/part-of": "facebridge"}
    for key in old:
        text = json.dumps(new[key]).replace(f'"{added[1]}"', '"edge"')
        assert text == json.dumps(old[key])


def test_a_second_device_is_a_second_folder(tmp_path: Path) -> None:
    folder = checkout(tmp_path)
    enrol(folder / "pki", "edge-08")
    shutil.copytree(folder / "k8s/edge", folder / "k8s/edge-08")
    file = folder / "k8s/edge-08/kustomization.yaml"
    file.write_text(file.read_text().replace("../../pki/edge-07", "../../pki/edge-08"))
    secrets = [thing for thing in rendered(file.parent) if thing["kind"] == "Secret"]
    assert [texts(secret)["EDGE"] for secret in secrets] == ["edge-08"]


def by_name(things: Things) -> dict[tuple[str, str], dict[str, Any]]:
    return {(thing["kind"], thing["metadata"]["name"]): thing for thing in things}
