"""Settings: what is masked, and what is refused."""

import pytest

from bus.settings import Settings, masked


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("rtsp://user:secret@cam/x", "rtsp://***@cam/x"),
        ("rtsp://user:se/cr@et@cam/x", "rtsp://***@cam/x"),
        ("http://cam/x?password=secret", "http://cam/x?***"),
        ("http://u:secret@cam/x?token=secret", "http://***@cam/x?***"),
        ("http://cam/x", "http://cam/x"),
        ("/dev/video0", "/dev/video0"),
        ("a@b", "a@b"),
        (7, "7"),
    ],
)
def test_secrets_in_urls_are_masked(value: object, shown: str) -> None:
    assert masked(value) == shown


@pytest.mark.parametrize("host", ["..", ".", "a..b", "x" * 64, "a b", "", "http://x", "a/b"])
def test_a_host_that_is_none_is_refused(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_HOST", host)
    if host:
        with pytest.raises(SystemExit, match="^BROKER_HOST: "):
            Settings.load()
    else:
        assert Settings.load().broker_host == "localhost"


@pytest.mark.parametrize(
    "host", ["localhost", "edge-broker", "cloud.example.com", "10.0.0.1", "::1", "fe80::1", "a_b"]
)
def test_a_host_is_taken(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_HOST", host)
    assert Settings.load().broker_host == host
