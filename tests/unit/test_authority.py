"""The CAs' folder: who signs whom, what is written down, and what an older version left."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from identity.authority import BROKER, PROCESSOR, Authority, is_current
from identity.issuer import PkiError
from identity.register import Register


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    return tmp_path / "pki"


def certificate(file: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(file.read_bytes())


def signed(pki: Path, name: str, by: str) -> bool:
    try:
        certificate(pki / name / "tls.crt").verify_directly_issued_by(certificate(pki / by))
    except (ValueError, InvalidSignature):
        return False
    return True


def revoked(pki: Path) -> set[int]:
    found = x509.load_pem_x509_crl((pki / "access_rules" / "crl.pem").read_bytes())
    assert found.is_signature_valid(certificate(pki / "ca.crt").public_key())  # type: ignore[arg-type]
    return {entry.serial_number for entry in found}


def rules(pki: Path) -> str:
    return (pki / "access_rules" / "cloud.acl").read_text()


def command(*words: object) -> "subprocess.CompletedProcess[str]":
    line = [sys.executable, "-m", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_a_processor_is_signed_by_another_authority(pki: Path) -> None:
    authority = Authority(pki)
    for name in ("edge-1", BROKER, PROCESSOR):
        authority.issue(name)
    assert [signed(pki, name, by="ca.crt") for name in ("edge-1", BROKER, PROCESSOR)] == [
        True,
        True,
        False,
    ]
    assert signed(pki, PROCESSOR, by="services.crt")
    assert (pki / BROKER / "services.crt").read_bytes() == (pki / "services.crt").read_bytes()
    assert not (pki / "edge-1" / "services.crt").exists()


def test_all_that_is_issued_is_written_down(pki: Path) -> None:
    authority = Authority(pki)
    authority.issue("edge-1")
    first = certificate(pki / "edge-1" / "tls.crt")
    authority.issue("edge-1", force=True)
    second = certificate(pki / "edge-1" / "tls.crt")
    entries = Register(pki / "register.csv").entries()
    assert [(entry.serial, entry.name, entry.revoked) for entry in entries] == [
        (f"{first.serial_number:x}", "edge-1", ""),
        (f"{second.serial_number:x}", "edge-1", ""),
    ]
    assert entries[0].end == f"{first.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"


def test_all_certificates_of_an_edge_are_revoked_and_its_name_is_denied(pki: Path) -> None:
    authority = Authority(pki)
    authority.issue("edge-2")
    shipped = rules(pki)
    serials = set()
    for force in (False, True):
        authority.issue("edge-1", force=force)
        serials.add(certificate(pki / "edge-1" / "tls.crt").serial_number)
    assert revoked(pki) == set()
    assert authority.revoke("edge-1") == 2
    assert revoked(pki) == serials
    assert rules(pki) == shipped + "\nuser edge-1\ntopic deny #\n"


def test_who_is_enrolled_again_is_let_in_with_the_new_certificate_alone(pki: Path) -> None:
    authority = Authority(pki)
    authority.issue("edge-1")
    authority.revoke("edge-1")
    authority.issue("edge-1", force=True)
    assert "deny" not in rules(pki)
    assert certificate(pki / "edge-1" / "tls.crt").serial_number not in revoked(pki)
    assert len(revoked(pki)) == 1


def test_the_list_stays_the_same_file_until_more_is_revoked(pki: Path) -> None:
    authority = Authority(pki)
    authority.issue("edge-1")
    before = (pki / "access_rules" / "crl.pem").read_bytes()
    authority.issue("edge-2")
    assert (pki / "access_rules" / "crl.pem").read_bytes() == before


def as_an_older_version(pki: Path) -> None:
    """Undo what this version adds: then there was one CA, and no register."""
    authority = Authority(pki)
    for name in (BROKER, "edge-1"):
        authority.issue(name)
    for name in ("services.key", "services.crt", "register.csv", f"{BROKER}/services.crt"):
        (pki / name).unlink()
    shutil.rmtree(pki / "access_rules")
    (pki / "edge-1").rename(pki / PROCESSOR)  # a certificate of the CA for edges, as it was then


def test_a_folder_of_an_older_version_is_brought_up_to_date(pki: Path) -> None:
    as_an_older_version(pki)
    key = (pki / BROKER / "tls.key").read_bytes()
    old = certificate(pki / PROCESSOR / "tls.crt")
    assert not is_current(pki, BROKER)
    assert not is_current(pki, PROCESSOR)
    authority = Authority(pki)
    assert [authority.keep(name) for name in (BROKER, PROCESSOR)] == [True, True]
    assert (pki / BROKER / "tls.key").read_bytes() == key
    assert signed(pki, PROCESSOR, by="services.crt")
    assert (pki / "access_rules" / "crl.pem").exists()
    assert [authority.keep(name) for name in (BROKER, PROCESSOR)] == [False, False]
    serials = [entry.serial for entry in Register(pki / "register.csv").entries()]
    assert f"{old.serial_number:x}" in serials


def test_a_certificate_from_before_the_register_can_be_revoked(pki: Path) -> None:
    Authority(pki).issue("edge-1")
    (pki / "register.csv").unlink()
    assert Authority(pki).revoke("edge-1") == 1
    assert revoked(pki) == {certificate(pki / "edge-1" / "tls.crt").serial_number}


def test_many_may_enrol_at_once(pki: Path) -> None:
    Authority(pki)
    names = [f"edge-{number}" for number in range(20)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: Authority(pki).issue(name), names))
    entries = Register(pki / "register.csv").entries()
    assert sorted(entry.name for entry in entries) == sorted(names)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("edge-9", "edge-9 was never enrolled in "),
        ("Edge", "NAME: "),
        ("../x", "NAME: "),
        (PROCESSOR, "processor is no edge: move "),
    ],
)
def test_who_cannot_be_shut_out_is_said(pki: Path, name: str, said: str) -> None:
    Authority(pki).issue("edge-1")
    ran = command("identity.revoke", "--pki", pki, name)
    assert ran.returncode == 1
    assert ran.stderr.startswith(said)
    assert len(ran.stderr.splitlines()) == 1


def test_a_spoilt_register_is_said(pki: Path) -> None:
    Authority(pki).issue("edge-1")
    (pki / "register.csv").write_text("serial,name\nxyz\n")
    with pytest.raises(PkiError, match="is spoilt"):
        Authority(pki).revoke("edge-1")


def test_without_a_folder_none_is_made(pki: Path) -> None:
    ran = command("identity.revoke", "--pki", pki, "edge-1")
    assert "is not there: run this where the CA is" in ran.stderr
    assert not pki.exists()
