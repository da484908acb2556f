"""The recipes for a cluster, with the real kubectl against an API server in memory."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.manifests.apiserver import ApiServer

ROOT = Path(__file__).resolve().parents[2]
HALVES = {
    "edge": ("facebridge", ["detector", "edge-broker", "logger"], ["edge-07"]),
    "cloud": ("facebridge-cloud", ["cloud-broker", "processor"], ["cloud-broker", "processor"]),
}
Run = subprocess.CompletedProcess[str]

if not shutil.which("kubectl") and not os.environ.get("REQUIRE_ENGINE"):
    pytest.skip("NOT RUN: the cluster tests need kubectl", allow_module_level=True)


@pytest.fixture(autouse=True)
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    server = ApiServer()
    with server.running() as config:
        (tmp_path / "config").write_text(json.dumps(config))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
        monkeypatch.setenv("HOME", str(tmp_path))  # for kubectl's cache
        yield server


@pytest.fixture(scope="session")
def enrol(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """What `enroll NAME... --format k8s` prints."""
    pki = tmp_path_factory.mktemp("cluster") / "pki"
    return cache(
        lambda *names: run(sys.executable, "-m", "local.enroll", *names, "--pki", str(pki), "--format", "k8s").stdout
    )


def run(*command: str, text: str = "", root: Path = ROOT) -> Run:
    return subprocess.run(command, cwd=root, input=text, capture_output=True, text=True, timeout=60)


def recipe(*words: str, root: Path = ROOT) -> Run:
    return run("sh", "local/cluster.sh", *words, root=root)


def here(*words: str, root: Path = ROOT) -> Run:
    return recipe(*words, "--context", "test", root=root)


def kubectl(*words: str, text: str = "") -> Run:
    return run("kubectl", "--context", "test", *words, text=text)


def put_secrets(half: str, enrol: Callable[..., str]) -> None:
    *_, names = HALVES[half]
    kubectl("create", "-f", f"k8s/{half}/namespace.yaml")
    applied = kubectl("apply", "-f", "-", text=enrol(*names))
    assert applied.returncode == 0, applied.stderr


def copy(folder: Path, **edits: str) -> Path:
    """A checkout of one's own, with edge/kustomization.yaml edited."""
    for part in ("k8s", "mosquitto", "local"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / "k8s" / "edge" / "kustomization.yaml"
    for old, new in edits.items():
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))
    return folder


def line(ran: Run) -> str:
    """The one line of a refusal."""
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert ran.stderr.count("\n") == 1, ran.stderr
    return ran.stderr.strip()


def test_an_enrolment_is_accepted(enrol: Callable[..., str], server: ApiServer) -> None:
    ran = kubectl("apply", "--dry-run=client", "-f", "-", text=enrol("edge-07"))
    assert (ran.stdout, ran.stderr) == ("secret/edge created (dry run)\n", "")
    ran = kubectl("apply", "--dry-run=client", "-f", "-", text=enrol("cloud-broker", "processor"))
    assert ran.stdout == "secret/cloud-broker created (dry run)\nsecret/processor created (dry run)\n"
    assert not server.things


def test_what_is_written_is_checked(server: ApiServer) -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}, "spce": {}}
    ran = kubectl("apply", "-f", "-", text=json.dumps(namespace))
    assert ran.returncode == 1
    assert "spce" in ran.stderr
    assert not server.things


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "unknown ''"),
        ("deploy", "usage: ./just deploy edge|cloud --context NAME"),
        ("deploy edge", "usage: ./just deploy edge|cloud --context NAME"),
        ("deploy edge --context", "usage: ./just deploy"),
        ("deploy fog --context test", "unknown: fog; usage: ./just deploy"),
        ("deploy edge cloud --context test", "unknown: cloud; usage: ./just deploy"),
        ("deploy edge --context test --outbox", "unknown: --outbox; usage: ./just deploy"),
        ("undeploy edge --contxt test", "unknown: --contxt; usage: ./just undeploy [--outbox] edge|cloud"),
        ("diff", "usage: ./just diff edge|cloud --context NAME"),
        ("logs", "usage: ./just k8s-logs edge|cloud --context NAME"),
        ("render", "usage: ./just render edge|cloud"),
        ("render fog", "unknown: fog; usage: ./just render edge|cloud"),
        ("ship", "usage: ./just ship [USER@]HOST"),
        ("ship --help", "unknown: --help; usage: ./just ship"),
        ("deploy edge --context elsewhere", "no cluster answers as context 'elsewhere': kubectl --context elsewhere"),
    ],
)
def test_a_wrong_command_is_one_line(words: str, said: str, server: ApiServer) -> None:
    assert line(recipe(*words.split())).startswith(said)
    assert not server.things


def test_a_cluster_that_is_off(tmp_path: Path) -> None:
    with ApiServer().running() as config:
        (tmp_path / "config").write_text(json.dumps(config))
    for what in ("deploy", "undeploy"):
        assert line(here(what, "edge")).startswith("no cluster answers as context 'test'")


@pytest.mark.parametrize("half", HALVES)
def test_render_needs_no_cluster(half: str) -> None:
    ran = recipe("render", half)
    assert ran.stdout == run("kubectl", "kustomize", f"k8s/{half}").stdout
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_missing_secret_is_named(server: ApiServer) -> None:
    ran = here("deploy", "edge")
    make = "make it: ./just enroll NAME --format k8s | kubectl --context test apply -f -\n"
    assert ran.stdout == "namespace/facebridge created\n"
    assert ran.stderr == f"the Secret edge is missing in facebridge (only the namespace was made); {make}"
    assert ran.returncode == 1
    assert list(server.things) == [("namespaces", "", "facebridge")]
    again = line(here("deploy", "edge"))
    assert again == f"the Secret edge is missing in facebridge (nothing was applied); {make}".strip()


def test_every_missing_secret_is_named() -> None:
    ran = here("deploy", "cloud")
    first, second = ran.stderr.splitlines()
    assert ran.returncode == 1
    assert first.endswith("./just enroll cloud-broker --format k8s | kubectl --context test apply -f -")
    assert second.endswith("./just enroll processor --format k8s | kubectl --context test apply -f -")


def test_a_network_camera_needs_its_secret(tmp_path: Path, enrol: Callable[..., str], server: ApiServer) -> None:
    root = copy(tmp_path / "own", **{"camera/device-plugin\n": "camera/stream\n"})
    put_secrets("edge", enrol)
    said = line(here("deploy", "edge", root=root))
    assert said.startswith("the Secret camera is missing in facebridge (nothing was applied); make it: kubectl ")
    made = run("sh", "-c", f"{said.split('make it: ')[1]} --dry-run=client -o json")  # else it is sent as protobuf
    assert kubectl("apply", "-f", "-", text=made.stdout).returncode == 0, made.stderr
    assert "SOURCE" in server.things["secrets", "facebridge", "camera"]["data"]
    assert here("deploy", "edge", root=root).returncode == 0


@pytest.mark.parametrize("half", HALVES)
def test_a_half_goes_in_and_out(half: str, enrol: Callable[..., str], server: ApiServer) -> None:
    namespace, parts, _ = HALVES[half]
    nothing = f"nothing is there: test has no namespace {namespace}\n"
    assert here("diff", half).stdout == here("undeploy", half).stdout == nothing
    assert not server.things
    put_secrets(half, enrol)
    before, secrets = set(server.things), server.names("secrets", namespace)
    ran = here("diff", half)
    assert ran.returncode == 0, ran.stderr
    assert all(f"+  name: {part}\n" in ran.stdout for part in parts)
    assert set(server.things) == before

    ran = here("deploy", half)
    assert (ran.returncode, ran.stderr) == (0, "")
    for part in parts:
        assert f'Waiting for deployment "{part}" rollout to finish' in ran.stdout
        assert f'deployment "{part}" successfully rolled out' in ran.stdout
        assert f"\n{part}-0 " in ran.stdout
    assert ran.stdout.endswith(f"Next: ./just k8s-logs {half} --context test\n")
    assert server.names("deployments", namespace) == set(parts)
    label = server.things["namespaces", "", namespace]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
    assert label == "restricted"
    changes = len(server.history)
    assert here("deploy", half).returncode == 0
    assert here("diff", half).stdout == "no difference\n"
    assert len(server.history) == changes
    said = here("logs", half).stdout
    assert all(f'[pod/{part}-0/{part}] "{part}-0 says hello"\n' in said for part in parts)

    ran = here("undeploy", half)
    assert ran.returncode == 0
    assert f"namespace {namespace} with its Secrets" in ran.stdout
    assert ("outbox stays" in ran.stdout) is (half == "edge")
    claims = {("persistentvolumeclaims", namespace, "outbox")} if half == "edge" else set()
    assert set(server.things) == before | claims
    assert server.names("secrets", namespace) == secrets
    assert here("undeploy", half).returncode == 0
    ran = here("undeploy", half, "--outbox")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert not server.things


@pytest.mark.parametrize("half", HALVES)
def test_by_hand_it_is_the_same(half: str, enrol: Callable[..., str], server: ApiServer) -> None:
    put_secrets(half, enrol)
    for word in ("created", "unchanged"):
        ran = kubectl("apply", "-k", f"k8s/{half}")
        assert (ran.returncode, ran.stderr.count("Warning")) == (0, 1 if word == "created" else 0), ran.stderr
        assert f"deployment.apps/{HALVES[half][1][0]} {word}\n" in ran.stdout
    by_hand = set(server.things)
    part = server.things["deployments", HALVES[half][0], HALVES[half][1][0]]
    part["spec"]["paused"] = True
    assert "-  paused: true\n" in here("diff", half).stdout
    assert here("deploy", half).returncode == 0
    assert set(server.things) == by_hand
    assert here("diff", half).stdout == "no difference\n"


def test_a_part_that_does_not_get_ready(tmp_path: Path, enrol: Callable[..., str], server: ApiServer) -> None:
    root = copy(tmp_path / "own", **{"camera/device-plugin\n": "camera/sample\n"})
    put_secrets("edge", enrol)
    server.stuck = {"edge-broker", "sample"}
    ran = here("deploy", "edge", root=root)
    assert ran.returncode == 1
    said = "not ready: edge-broker,sample; kubectl --context test --namespace facebridge describe pods"
    assert ran.stderr.splitlines()[-1].startswith(f"{said} -l 'app in (edge-broker,sample)' says why")
    assert 'deployment "logger" successfully rolled out' in ran.stdout
    assert "\nsample-0 " in ran.stdout
    assert "Next:" not in ran.stdout


def test_an_apply_that_is_refused_in_the_middle(enrol: Callable[..., str], server: ApiServer) -> None:
    put_secrets("edge", enrol)
    server.forbidden = {"services"}
    ran = here("deploy", "edge")
    assert ran.returncode == 1
    assert "is forbidden" in ran.stderr
    last = "not all was applied, see above; once that is mended, the same command goes on"
    assert ran.stderr.splitlines()[-1] == last
    assert ran.stdout == ""
    assert here("diff", "edge").returncode == 1
    server.forbidden = set()
    assert here("deploy", "edge").returncode == 0


def test_a_namespace_that_may_not_be_made(server: ApiServer) -> None:
    server.forbidden = {"namespaces"}
    ran = here("deploy", "edge")
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1].startswith("the namespace facebridge cannot be made, see above; nothing was")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an ssh and a docker of its own, first on PATH."""
    for name, script in {
        "docker": 'case $1 in save) [ ! -e "$0.broken" ] && echo "$@" >"$3" ;; esac',
        "ssh": 'echo "$@" >"$0.args"; cat >"$0.stdin"; [ ! -e "$0.broken" ]',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    return tmp_path


def test_ship_brings_the_images(host: Path) -> None:
    ran = recipe("ship", "me@jetson")
    assert ran.returncode == 0, ran.stderr
    assert (host / "ssh.args").read_text() == "me@jetson gunzip -c | sudo k3s ctr images import -\n"
    saved = subprocess.run(["gunzip", "-c", host / "ssh.stdin"], capture_output=True, text=True, check=True).stdout
    assert saved.startswith("save -o ")
    assert {"facebridge/broker:dev", "facebridge/detector:dev", "facebridge/logger:dev"} <= set(saved.split())
    assert not list((host / "tmp").iterdir())


@pytest.mark.parametrize(
    ("program", "said"), [("ssh", "jetson did not take the images"), ("docker", "images are missing")]
)
def test_ship_says_what_failed(program: str, said: str, host: Path) -> None:
    (host / f"{program}.broken").touch()
    ran = recipe("ship", "jetson")
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1].startswith(said)
    assert (host / "ssh.args").exists() is (program == "ssh")
    assert not list((host / "tmp").iterdir())
