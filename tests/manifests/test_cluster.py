"""The recipes for a cluster, with the real kubectl against an API server in memory."""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.manifests.apiserver import ApiServer
from tests.support.commands import Run, line, run

ROOT = Path(__file__).resolve().parents[2]
WRITTEN_IN = {"cloud.example.com": "cloud.facebridge.test", "BUCKET=my-faces": "BUCKET=our-faces"}
HALVES = {
    "edge": ("facebridge", ["detector", "edge-broker", "logger"]),
    "cloud": ("facebridge-cloud", ["cell"]),
}

if not shutil.which("kubectl") and not os.environ.get("REQUIRE_ENGINE"):
    pytest.skip("NOT RUN: the cluster tests need kubectl", allow_module_level=True)


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `enroll NAME... --format k8s` makes."""
    pki = tmp_path_factory.mktemp("cluster") / "pki"
    enrol(pki, "edge-07", "cloud-broker", "processor")
    return pki


@pytest.fixture(autouse=True)
def server(tmp_path: Path, pki: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    server = ApiServer()
    with server.running() as config:
        (tmp_path / "config").write_text(json.dumps(config))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
        monkeypatch.setenv("HOME", str(tmp_path))  # for kubectl's cache
        monkeypatch.chdir(copy(tmp_path / "checkout", **WRITTEN_IN))
        shutil.copytree(pki, "pki")
        yield server


def enrol(pki: Path, *words: str) -> None:
    command = [sys.executable, "-m", "identity", *words, "--pki", str(pki), "--format", "k8s"]
    assert run(*command, root=ROOT).returncode == 0


def recipe(*words: str, root: Path | None = None) -> Run:
    return run("sh", "deploy/cluster.sh", *words, root=root)


def here(*words: str, root: Path | None = None) -> Run:
    return recipe(*words, "--context", "test", root=root)


def kubectl(*words: str, text: str = "") -> Run:
    return run("kubectl", "--context", "test", *words, text=text)


def copy(folder: Path, **edits: str) -> Path:
    """A checkout of one's own, with what a newcomer edits edited."""
    for part in ("k8s", "mosquitto", "deploy"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    edit(folder, **edits)
    return folder


def edit(folder: Path, **edits: str) -> None:
    files = [
        folder / "k8s" / name
        for name in ("edge/kustomization.yaml", "edge/cloud.yaml", "cloud/kustomization.yaml")
    ]
    for old, new in edits.items():
        (file,) = (file for file in files if old in file.read_text())
        file.write_text(file.read_text().replace(old, new))


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
        (
            "undeploy edge --contxt test",
            "unknown: --contxt; usage: ./just undeploy edge [--outbox]|cloud [--secrets]",
        ),
        ("undeploy cloud --outbox --context test", "unknown: --outbox; usage: ./just undeploy"),
        ("undeploy edge --secrets --context test", "unknown: --secrets; usage: ./just undeploy"),
        ("undeploy edge --yes --context test", "unknown: --yes; usage: ./just undeploy"),
        ("diff", "usage: ./just diff edge|cloud --context NAME"),
        ("logs", "usage: ./just k8s-logs edge|cloud --context NAME"),
        ("render", "usage: ./just render edge|cloud"),
        ("render fog", "unknown: fog; usage: ./just render edge|cloud"),
        (
            "deploy edge --context elsewhere",
            "no cluster answers as context 'elsewhere': kubectl --context elsewhere",
        ),
        (
            "deploy edge --context=elsewhere",
            "no cluster answers as context 'elsewhere': kubectl --context elsewhere",
        ),
    ],
)
def test_a_wrong_command_is_one_line(words: str, said: str, server: ApiServer) -> None:
    assert line(recipe(*words.split())).startswith(said)
    assert not server.things


def test_help_is_no_mistake() -> None:
    for what in ("deploy", "undeploy", "diff", "logs", "render"):
        ran = recipe(what, "--help")
        assert (ran.returncode, ran.stderr) == (0, "")
        assert ran.stdout.startswith("usage: ./just ")


def test_a_camera_that_there_is_not() -> None:
    edit(Path.cwd(), **{"camera/device-plugin\n": "camera/usb # ours\n"})
    for words in (
        ["render", "edge"],
        ["deploy", "edge", "--context", "test"],
        ["diff", "edge", "--context", "test"],
    ):
        said = line(recipe(*words))
        assert said.startswith(
            "k8s/edge/kustomization.yaml: there is no camera/usb, only camera/device-plugin camera/"
        )
        assert said.endswith("camera/sample camera/stream")
    assert recipe("render", "cloud").returncode == 0


@pytest.mark.parametrize(
    ("half", "cloud", "said"),
    [
        ("edge", "cloud.example.com", "k8s/edge/cloud.yaml still says cloud.example.com"),
        (
            "edge",
            "198.51.100.7",
            "k8s/edge/cloud.yaml: externalName cannot be an IP address (198.51.100.7)",
        ),
        ("cloud", "", "k8s/cloud/kustomization.yaml still says BUCKET=my-faces"),
    ],
)
def test_what_is_not_written_in_is_refused(
    half: str, cloud: str, said: str, tmp_path: Path, server: ApiServer
) -> None:
    root = copy(tmp_path / "own", **({"cloud.example.com": cloud} if cloud else {}))
    shutil.copytree("pki", root / "pki")
    refused = line(here("deploy", half, root=root))
    assert refused.startswith(said)
    assert refused.endswith("; nothing was applied")
    assert not server.things


@pytest.mark.parametrize("port", [8883, 32746])
def test_the_cloud_may_have_an_address(port: int, server: ApiServer) -> None:
    file = Path("k8s/edge/cloud.yaml")
    whole = by_address(file.read_text()).replace("targetPort: 8883 }", f"targetPort: {port} }}")
    file.write_text(whole.replace("mqtts, port: 8883 }] # port", f"mqtts, port: {port} }}] # port"))
    assert line(here("deploy", "edge")).startswith("k8s/edge/cloud.yaml still says 203.0.113.10")
    file.write_text(file.read_text().replace("203.0.113.10", "198.51.100.7"))
    assert here("deploy", "edge").returncode == 0
    assert server.things["services", "facebridge", "cloud-broker"]["spec"]["ports"] == [
        {"name": "mqtts", "port": 8883, "targetPort": port}
    ]
    (slice_,) = (thing for (kind, *_), thing in server.things.items() if kind == "endpointslices")
    assert slice_["ports"] == [{"name": "mqtts", "port": port}]
    assert slice_["metadata"]["labels"]["kubernetes.io/service-name"] == "cloud-broker"


def by_address(text: str) -> str:
    """The other form, with the # taken off as the comment before it says."""
    rest = text.partition("two marked places.\n")[2]
    return "\n".join(row.removeprefix("#") for row in rest.splitlines()) + "\n"


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


@pytest.mark.parametrize(
    ("half", "said"),
    [
        (
            "edge",
            "k8s/edge/kustomization.yaml names what is not there; make it: ./just enroll edge-07",
        ),
        (
            "cloud",
            "k8s/cloud/kustomization.yaml names what is not there;"
            " make it: ./just enroll cloud-broker processor",
        ),
    ],
)
@pytest.mark.parametrize("left", ["nothing", "the files alone"])
def test_who_forgot_to_enrol_is_told(half: str, said: str, left: str, server: ApiServer) -> None:
    for file in Path("pki").glob("*/*"):
        if left == "nothing" or file.name == "kustomization.yaml":
            file.unlink()
    for words in (["render", half], [*("deploy", half, "--context", "test")]):
        assert line(recipe(*words)) == f"{said} --format k8s"
    assert not server.things


def test_a_network_camera_needs_its_address(server: ApiServer) -> None:
    edit(Path.cwd(), **{"camera/device-plugin\n": "camera/stream\n"})
    said = line(here("deploy", "edge"))
    assert said.startswith("k8s/edge/camera/stream/camera.env is missing; write into it: SOURCE=")
    assert not server.things
    Path("k8s/edge/camera/stream/camera.env").write_text(said.partition("write into it: ")[2])
    assert here("deploy", "edge").returncode == 0
    (name,) = (name for name in server.names("secrets", "facebridge") if name.startswith("camera-"))
    assert "SOURCE" in server.things["secrets", "facebridge", name]["data"]


def test_a_store_may_need_keys(server: ApiServer) -> None:
    file = Path("k8s/cloud/kustomization.yaml")
    file.write_text(
        file.read_text().replace("# components: [keys, load-b", "components: [keys] # [")
    )
    said = line(here("deploy", "cloud"))
    assert said.startswith("k8s/cloud/keys/keys.env is missing; write into it AWS_ACCESS_KEY_ID=")
    keys = "AWS_ACCESS_KEY_ID=a\nAWS_SECRET_ACCESS_KEY=b\n"
    Path("k8s/cloud/keys/keys.env").write_text(keys)
    assert here("deploy", "cloud").returncode == 0
    assert len(server.names("secrets", "facebridge-cloud")) == 4


@pytest.mark.parametrize("half", HALVES)
def test_a_half_goes_in_and_out(half: str, server: ApiServer) -> None:
    namespace, parts = HALVES[half]
    nothing = f"nothing is there: test has no namespace {namespace}\n"
    assert here("undeploy", half).stdout == nothing
    assert here("diff", half).stdout == f"{nothing.strip()}; all would be new\n"
    assert not server.things
    kubectl("apply", "--server-side", "-f", f"k8s/{half}/namespace.yaml")
    before = set(server.things)
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
    secrets = server.names("secrets", namespace)
    assert len(secrets) == (1 if half == "edge" else 3)
    label = server.things["namespaces", "", namespace]["metadata"]["labels"][
        "pod-security.kubernetes.io/enforce"
    ]
    assert label == "restricted"
    changes = len(server.history)
    assert here("deploy", half).returncode == 0
    assert here("diff", half).stdout == "no difference\n"
    assert len(server.history) == changes
    said = here("logs", half).stdout
    assert all(re.search(rf'\[pod/{part}-0/.*\] "{part}-0 says hello"', said) for part in parts)

    ran = here("undeploy", half)
    assert ran.returncode == 0
    assert f"namespace {namespace} with its Secrets" in ran.stdout
    assert ("outbox stays" in ran.stdout) is (half == "edge")
    claims = {("persistentvolumeclaims", namespace, "outbox")} if half == "edge" else set()
    kept = {("secrets", namespace, name) for name in secrets}
    assert set(server.things) == before | claims | kept
    assert server.names("secrets", namespace) == secrets
    assert here("undeploy", half).returncode == 0
    word = "--outbox" if half == "edge" else "--secrets"
    said = line(here("undeploy", half, word))
    assert said.startswith(f"{word} gives up the namespace {namespace} in test with its Secrets")
    assert said.endswith("; if that is meant, add --yes")
    assert ("not stored yet are lost" in said) is (half == "edge")
    assert server.names("secrets", namespace) == secrets
    ran = here("undeploy", half, word, "--yes")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert not server.things


def test_on_a_terminal_it_asks(server: ApiServer) -> None:
    kubectl("apply", "--server-side", "-f", "k8s/edge/namespace.yaml")
    words = ["sh", "deploy/cluster.sh", "undeploy", "edge", "--outbox", "--context", "test"]
    for answer in ("no", "yes"):
        ours, its = pty.openpty()
        os.write(ours, f"{answer}\n".encode())
        ran = subprocess.run(words, stdin=its, capture_output=True, text=True, timeout=60)
        os.close(ours)
        os.close(its)
        assert "lost for ever.\nType yes to do it: " in ran.stdout
        assert ran.stderr == ("nothing was removed\n" if answer == "no" else "")
        assert bool(server.things) is (answer == "no")


def test_what_left_the_manifests_leaves_the_cluster(server: ApiServer) -> None:
    edit(Path.cwd(), **{"camera/device-plugin\n": "camera/sample\n"})
    assert here("deploy", "edge").returncode == 0
    ours = {"app.kubernetes.io/part-of": "facebridge"}
    for name, labels in {
        "own": {},
        "old": ours,
        "made": {
            **ours,
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        },
    }.items():
        thing: dict[str, object] = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "addressType": "IPv4",
            "endpoints": [],
        }
        thing |= {"metadata": {"name": name, "namespace": "facebridge", "labels": labels}}
        assert kubectl("apply", "--server-side", "-f", "-", text=json.dumps(thing)).returncode == 0
    edit(Path.cwd(), **{"camera/sample\n": "camera/host-path\n", "DETECT_FPS=5": "DETECT_FPS=4"})
    before = server.names("configmaps", "facebridge")
    ran = here("diff", "edge")
    assert ran.returncode == 0
    gone = [
        row.rpartition(": ")[2]
        for row in ran.stdout.splitlines()
        if row.startswith("no longer in the manifests")
    ]
    (old,) = (row.partition("/")[2] for row in gone if row.startswith("configmap/"))
    assert old in before
    assert set(gone) == {
        "deployment.apps/sample",
        "service/sample",
        "endpointslice.discovery.k8s.io/old",
        f"configmap/{old}",
        "networkpolicy.networking.k8s.io/sample",
        "networkpolicy.networking.k8s.io/to-sample",
    }
    server.stuck = {"detector"}
    assert here("deploy", "edge").returncode == 1
    assert "sample" in server.names("deployments", "facebridge"), "removed before the new is ready"
    server.stuck = set()
    edit(Path.cwd(), **{"DETECT_FPS=4": "DETECT_FPS=3"})
    ran = here("deploy", "edge")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert 'deployment.apps "sample" deleted' in ran.stdout
    assert server.names("endpointslices", "facebridge") == {"own", "made"}
    assert server.names("deployments", "facebridge") == {"detector", "edge-broker", "logger"}
    assert len(server.names("configmaps", "facebridge")) == len(before)
    assert ("persistentvolumeclaims", "facebridge", "outbox") in server.things
    assert here("diff", "edge").stdout == "no difference\n"


def test_another_certificate_rolls_those_that_use_it(server: ApiServer) -> None:
    def templates() -> dict[str, str]:
        things = {
            name: thing for (kind, _, name), thing in server.things.items() if kind == "deployments"
        }
        return {name: json.dumps(thing["spec"]["template"]) for name, thing in things.items()}

    assert here("deploy", "edge").returncode == 0
    hand_made = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "edge"}}
    assert kubectl("create", "-n", "facebridge", "-f", "-", text=json.dumps(hand_made)).stderr == ""
    (old,) = server.names("secrets", "facebridge") - {"edge"}
    first = templates()
    enrol(Path("pki").resolve(), "edge-07", "--force")
    assert (
        f"no longer in the manifests, would be deleted: secret/{old}\n"
        in here("diff", "edge").stdout
    )
    ran = here("deploy", "edge")
    assert (ran.returncode, ran.stderr) == (0, "")
    second = templates()
    assert {name for name in first if first[name] != second[name]} == {"edge-broker", "detector"}
    (new,) = server.names("secrets", "facebridge") - {"edge"}
    assert new != old
    assert f'"secretName": "{new}"' in second["edge-broker"]
    assert here("deploy", "edge").returncode == 0
    assert templates() == second
    assert here("diff", "edge").stdout == "no difference\n"


def test_a_deploy_that_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.which("kubectl")
    (tmp_path / "bin").mkdir()
    waiting = tmp_path / "waiting"
    script = (
        f"case $* in *'rollout status'*) touch {waiting}; exec sleep 60 ;; esac; exec {real} \"$@\""
    )
    (tmp_path / "bin" / "kubectl").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "bin" / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    words = ["sh", "deploy/cluster.sh", "deploy", "edge", "--context", "test"]
    with subprocess.Popen(
        words, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as deploy:
        deadline = time.monotonic() + 30
        while not waiting.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(deploy.pid, signal.SIGTERM)
        said = deploy.communicate(timeout=30)[1]
    assert said.splitlines()[-1] == "stopped; what was applied stays, and the same command goes on"
    assert deploy.returncode == 130


@pytest.mark.parametrize("half", HALVES)
def test_by_hand_it_is_the_same(half: str, server: ApiServer) -> None:
    for word in ("created", "unchanged"):
        ran = kubectl("apply", "-k", f"k8s/{half}")
        assert (ran.returncode, ran.stderr) == (0, "")
        assert f"deployment.apps/{HALVES[half][1][0]} {word}\n" in ran.stdout
    by_hand = set(server.things)
    part = server.things["deployments", HALVES[half][0], HALVES[half][1][0]]
    part["spec"]["paused"] = True
    assert "-  paused: true\n" in here("diff", half).stdout
    assert here("deploy", half).returncode == 0
    assert set(server.things) == by_hand
    assert here("diff", half).stdout == "no difference\n"


def test_a_part_that_does_not_get_ready(server: ApiServer) -> None:
    edit(Path.cwd(), **{"camera/device-plugin\n": "camera/sample\n"})
    server.stuck = {"edge-broker", "sample"}
    ran = here("deploy", "edge")
    assert ran.returncode == 1
    said = (
        "not ready: edge-broker,sample; kubectl --context test --namespace facebridge describe pods"
    )
    assert ran.stderr.splitlines()[-1].startswith(
        f"{said} -l 'app in (edge-broker,sample)' says why"
    )
    assert 'deployment "logger" successfully rolled out' in ran.stdout
    assert "\nsample-0 " in ran.stdout
    assert "Next:" not in ran.stdout


def test_an_apply_that_is_refused_in_the_middle(server: ApiServer) -> None:
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
    assert "is forbidden" in ran.stderr
    assert ran.stderr.splitlines()[-1].startswith("not all was applied, see above")
    assert not server.things
