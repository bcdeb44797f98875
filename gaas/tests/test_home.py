"""What `up` prepares before Django reads its settings."""

from __future__ import annotations

import stat

import pytest

from gaas import home
from gaas.local_agent import NoSandbox, is_loopback, sandbox_missing


@pytest.fixture
def clean(monkeypatch, tmp_path):
    for name in ("GAAS_HOME", "SECRET_KEY", "BASE_URL", "ALLOW_SIMULATED"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


class TestPrepare:
    def test_it_keeps_a_secret_key_that_only_its_user_reads(self, clean, monkeypatch):
        import os

        home.prepare([], clean)
        kept = clean / "var" / "secret_key"
        assert len(kept.read_text()) >= 50
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        first = kept.read_text()
        home.prepare(["--port", "8111"], clean)
        assert kept.read_text() == first
        assert os.environ["BASE_URL"] == "http://127.0.0.1:8000"  # what is set stays
        for name in ("GAAS_HOME", "BASE_URL", "ALLOW_SIMULATED"):
            monkeypatch.delenv(name)

    def test_it_takes_the_address_from_the_flags(self, clean, monkeypatch):
        import os

        home.prepare(["--host", "0.0.0.0", "--port", "8111", "--no-agent"], clean)
        assert os.environ["BASE_URL"] == "http://127.0.0.1:8111"
        for name in ("GAAS_HOME", "BASE_URL", "ALLOW_SIMULATED"):
            monkeypatch.delenv(name)


class TestSandbox:
    @pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
    def test_loopback_is_told_from_the_rest(self, host):
        assert is_loopback(host)

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "gaas.example"])
    def test_everything_else_is_public(self, host):
        assert not is_loopback(host)

    def test_a_public_address_needs_a_sandbox(self, monkeypatch):
        monkeypatch.setenv("PATH", "")
        with pytest.raises(NoSandbox, match="bubblewrap"):
            sandbox_missing("0.0.0.0", "http://127.0.0.1:8000")

    def test_a_proxy_before_it_is_another_machine_too(self, monkeypatch):
        monkeypatch.setenv("PATH", "")
        with pytest.raises(NoSandbox, match="bubblewrap"):
            sandbox_missing("127.0.0.1", "https://gaas.example")

    def test_loopback_runs_without_one_and_is_told(self, monkeypatch):
        monkeypatch.setenv("PATH", "")
        assert "bwrap" in (sandbox_missing("127.0.0.1", "http://127.0.0.1:8000") or "")
