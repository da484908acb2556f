"""The recipes for images, with a docker and an ssh that write down what they are asked."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.commands import Run, line, run

ROOT = Path(__file__).resolve().parents[2]
BAKE = ROOT / "docker-bake.hcl"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an ssh and a docker of its own, first on PATH."""
    for name, script in {
        "docker": 'echo "$@" >>"$0.args"; [ ! -e "$0.no-$1" ] || exit 1\n'
        'case $1 in buildx) echo "${TAG-}|${REGISTRY-}|${PLATFORM-}" >"$0.env" ;; save) echo "$@" >"$3" ;; image) echo arm64 ;; esac',
        "ssh": 'echo "$@" >>"$0.args"; case $* in *uname*) [ ! -e "$0.off" ] && echo "${KIND-aarch64}" ;;\n'
        '*--version) [ ! -e "$0.no-sudo" ] ;; *) cat >"$0.stdin"; [ ! -e "$0.broken" ] ;; esac',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    return tmp_path


def images(*words: str) -> Run:
    return run("sh", "deploy/images.sh", *words, root=ROOT)


def dockers(host: Path, word: str) -> list[str]:
    """What docker was asked that begins with this word."""
    return [row for row in (host / "docker.args").read_text().splitlines() if row.startswith(word)]


def test_images_are_for_this_machine(host: Path) -> None:
    assert images("build").returncode == 0
    assert dockers(host, "compose") == ["compose -f compose/compose.yaml build"]
    assert not dockers(host, "buildx")


@pytest.mark.parametrize(
    ("words", "result", "made"),
    [
        ("--platform linux/arm64", "--load", "dev||linux/arm64"),
        (
            "--push r.example.com/a",
            "--push",
            "dev|r.example.com/a|linux/amd64,linux/arm64",
        ),
        ("--push r --platform linux/arm64", "--push", "dev|r|linux/arm64"),
    ],
)
def test_images_for_other_machines(words: str, result: str, made: str, host: Path) -> None:
    ran = images("build", *words.split())
    assert (ran.returncode, ran.stderr) == (0, "")
    assert dockers(host, "buildx bake") == [f"buildx bake {result}"]
    assert (host / "docker.env").read_text() == f"{made}\n"
    assert not dockers(host, "compose")


def test_every_image_is_baked() -> None:
    texts = [file.read_text() for file in (ROOT / "compose").glob("*.yaml")]
    composed = {name for text in texts for name in re.findall(r"image: facebridge/(\w+):", text)}
    lists = re.findall(r'= \{? ?(?:image = )?\["(\w+(?:", "\w+)+)"\]', BAKE.read_text())
    assert [set(names.split('", "')) for names in lists] == [composed, composed]
    stages = re.findall(r"^FROM \S+ AS (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert composed <= set(stages)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "unknown ''"),
        (
            "build --all",
            "unknown: --all; usage: ./just images [--platform linux/arm64] [--push REGISTRY]",
        ),
        ("build --push", "usage: ./just images"),
        (
            "build --platform linux/amd64,linux/arm64",
            "--platform: one at a time, or --push REGISTRY",
        ),
        ("bundle a b", "unknown: b; usage: ./just bundle [FILE]"),
        ("ship", "usage: ./just ship [USER@]HOST"),
        ("ship --fast", "unknown: --fast; usage: ./just ship"),
        ("ship jetson now", "unknown: now; usage: ./just ship"),
    ],
)
def test_a_wrong_word_about_images_is_one_line(words: str, said: str, host: Path) -> None:
    assert line(images(*words.split())).startswith(said)
    assert not (host / "ssh.args").exists()


def test_a_kind_that_cannot_be_built(host: Path) -> None:
    (host / "docker.no-buildx").touch()
    assert "docker buildx is needed" in line(images("build", "--platform", "linux/arm64"))


def test_a_bundle_serves_docker_and_k3s(host: Path) -> None:
    ran = images("bundle", str(host / "all.tar.gz"))
    assert ran.returncode == 0, ran.stderr
    saved = subprocess.run(
        ["gunzip", "-c", host / "all.tar.gz"], capture_output=True, text=True, check=True
    ).stdout
    assert {
        "facebridge/broker:dev",
        "localhost/facebridge/broker:dev",
        "facebridge/store:dev",
    } <= set(saved.split())


def test_ship_brings_the_images(host: Path) -> None:
    ran = images("ship", "me@jetson")
    assert ran.returncode == 0, ran.stderr
    assert [
        row.startswith(word)
        for row, word in zip(ran.stderr.splitlines(), ("packing", "bringing"), strict=True)
    ]
    last = (host / "ssh.args").read_text().splitlines()[-1]
    assert last == "me@jetson gunzip -c | sudo -n k3s ctr images import -"
    saved = subprocess.run(
        ["gunzip", "-c", host / "ssh.stdin"], capture_output=True, text=True, check=True
    ).stdout
    assert saved.startswith("save -o ")
    edge = (ROOT / "k8s/edge/kustomization.yaml").read_text()
    used = set(re.findall(r"newName: (\S+), newTag: dev", edge))
    assert used == {f"localhost/facebridge/{name}" for name in ("broker", "detector", "logger")}
    assert {f"{name}:dev" for name in used} <= set(saved.split())
    assert "facebridge/store:dev" not in saved
    assert not list((host / "tmp").iterdir())


@pytest.mark.parametrize(
    ("sign", "said"),
    [
        ("ssh.off", "jetson cannot be reached: ssh jetson true must work"),
        ("ssh.no-sudo", "jetson must have k3s, and sudo without a password"),
        ("ssh.broken", "jetson did not take the images"),
        ("docker.no-image", "images are missing: ./just images"),
        ("docker.no-save", "the images could not be saved"),
    ],
)
def test_ship_says_what_failed(sign: str, said: str, host: Path) -> None:
    (host / sign).touch()
    ran = images("ship", "jetson")
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1].startswith(said)
    assert ("import" in (host / "ssh.args").read_text()) is (sign == "ssh.broken")
    assert not list((host / "tmp").iterdir())


def test_ship_refuses_images_of_another_kind(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIND", "x86_64")
    said = line(images("ship", "jetson"))
    assert (
        said
        == "facebridge/broker is for arm64, jetson is amd64: ./just images --platform linux/amd64"
    )
    assert not dockers(host, "save")
