"""The Kubernetes manifests: they render, they are valid, and they keep our own rules."""

import json
import os
import shutil
import subprocess
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
OVERLAYS = [*(f"edge/{camera}" for camera in CAMERAS), "cloud/node-port", "cloud/load-balancer"]

if not shutil.which("kubectl") and not os.environ.get("REQUIRE_ENGINE"):
    pytest.skip("NOT RUN: the manifest tests need kubectl", allow_module_level=True)


@cache
def render(overlay: str) -> list[dict[str, Any]]:
    """The objects of a half with one of its components."""
    half, component = overlay.split("/")
    return list(yaml.safe_load_all(_kustomize(half, component)))


def _kustomize(half: str, component: str) -> str:
    """Render in a copy, with the component as a person would write it in."""
    with tempfile.TemporaryDirectory() as folder:
        for part in ("k8s", "mosquitto"):
            shutil.copytree(ROOT / part, Path(folder) / part)
        file = Path(folder) / "k8s" / half / "kustomization.yaml"
        text = file.read_text().replace("camera/device-plugin\n", f"camera/{component}\n")
        if component == "load-balancer":
            text += "\ncomponents: [load-balancer]\n"
        file.write_text(text)
        ran = subprocess.run(
            ["kubectl", "kustomize", str(file.parent)], capture_output=True, text=True
        )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    return ran.stdout


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
        (container,) = pod["containers"]
        assert container["name"] == name
        assert ":" in container["image"]
        assert not container["image"].endswith(":latest")
        assert container["image"].startswith("localhost/"), (
            "a name that somebody else could publish"
        )
        assert container["resources"]["limits"]["memory"]
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        assert container["readinessProbe"]
        assert container["livenessProbe"]
        own = container["securityContext"]
        assert own["readOnlyRootFilesystem"] is True
        if (overlay, name) == ("edge/host-path", "detector"):
            assert own["privileged"] is True
            continue
        assert own["allowPrivilegeEscalation"] is False
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert "privileged" not in own
        assert not any("hostPath" in volume for volume in pod.get("volumes", ()))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_is_named_is_there(overlay: str) -> None:
    secrets = (
        {"edge", "camera"} if overlay.startswith("edge") else {"cloud-broker", "processor", "store"}
    )
    maps, claims = names(overlay, "ConfigMap"), names(overlay, "PersistentVolumeClaim")
    for _, pod in pods(overlay):
        for volume in pod.get("volumes", ()):
            if "configMap" in volume:
                assert volume["configMap"]["name"] in maps
            if "secret" in volume:
                assert volume["secret"]["secretName"] in secrets
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims
        text = json.dumps(pod)
        for container in pod["containers"]:
            for source in container.get("envFrom", ()):
                assert (
                    source.get("configMapRef", source.get("secretRef"))["name"] in maps | secrets
                ), text
            for env in container.get("env", ()):
                if key := env.get("valueFrom", {}).get("secretKeyRef"):
                    assert key["name"] in secrets


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


def test_only_the_autoscaler_says_how_many() -> None:
    things = {
        (thing["kind"], thing["metadata"]["name"]): thing for thing in render("cloud/node-port")
    }
    scaled = {
        thing["spec"]["scaleTargetRef"]["name"]
        for (kind, _), thing in things.items()
        if "Autoscaler" in kind
    }
    assert scaled == {"processor"}
    assert "replicas" not in things["Deployment", "processor"]["spec"]


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
    assert ports["cloud-broker"]["port"] == 8884
    assert (ports["cloud-broker-edges"]["port"], ports["cloud-broker-edges"]["nodePort"]) == (
        8883,
        32746,
    )


def test_two_edges_are_not_one_secret(tmp_path: Path) -> None:
    command = [
        "python",
        "-m",
        "identity.enroll",
        "edge-07",
        "edge-08",
        "--pki",
        str(tmp_path / "pki"),
        "--format",
        "k8s",
    ]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("--format k8s: one edge at a time")
    assert ran.stderr.count("\n") == 1
    assert not (tmp_path / "pki").exists()


@pytest.mark.parametrize("name", ["edge-07", "processor", "cloud-broker"])
def test_an_enrolment_is_a_secret(name: str, tmp_path: Path) -> None:
    command = [
        "python",
        "-m",
        "identity.enroll",
        name,
        "--pki",
        str(tmp_path / "pki"),
        "--format",
        "k8s",
    ]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (secret,) = [thing for thing in yaml.safe_load_all(printed) if thing]
    kubernetes_validate.validate(secret, VERSIONS[0], strict=True)
    assert {"ca.crt", "tls.crt", "tls.key"} <= set(secret["stringData"])
    assert secret["stringData"].get("EDGE") == ("edge-07" if name == "edge-07" else None)
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert again == printed
