"""Calls over real sockets: what is reached, what is never touched, and how long the worst receivers hold us."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gaas.lib.net import AddressRefused, Failed, Guard, addresses, fetch
from gaas.lib.net.tests import receivers
from gaas.lib.net.tests.receivers import receiver, says
from gaas.lib.net.tests.spellings import RESOLVED, WRITTEN

PUBLIC = "93.184.215.14"


def inside(**more):
    """Give a guard to whom loopback is let in, over http."""
    return Guard(networks=addresses.parse_networks(["127.0.0.0/8"]), is_http_allowed=True, **more)


def loopback(host, port):
    return ["127.0.0.1"]


class TestReached:
    def test_it_sends_what_it_was_given_and_nothing_else(self, monkeypatch):
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
        with receiver() as hook:
            url = f"http://hook.example:{hook.port}/in?x=1"
            guard = inside(resolve=loopback)
            answer = fetch(url, guard=guard, method="POST", headers={"X-Event": "ping"}, body=b"{}")
        assert (answer.status, answer.body, answer.is_whole) == (200, b"ok", True)
        (request,) = hook.received
        assert request.head == "POST /in?x=1 HTTP/1.1"
        assert request.body == b"{}"
        assert request.headers == {
            "host": f"hook.example:{hook.port}",
            "connection": "close",
            "accept-encoding": "identity",
            "x-event": "ping",
            "content-length": "2",
        }

    def test_the_next_address_is_tried_where_one_accepts_nothing(self):
        with receiver() as hook:
            guard = Guard(
                networks=addresses.parse_networks(["127.0.0.0/8", "::1/128"]),
                is_http_allowed=True,
                resolve=lambda host, port: ["::1", "127.0.0.1"],
            )
            assert fetch(f"http://hook.example:{hook.port}/", guard=guard).status == 200


class TestRefused:
    @pytest.mark.parametrize("spelling", WRITTEN)
    def test_no_spelling_reaches_the_trap(self, spelling):
        with receiver() as trap, pytest.raises(AddressRefused):
            fetch(WRITTEN[spelling].format(port=trap.port), guard=Guard(resolve=lambda host, port: [PUBLIC]))
        assert trap.hits == 0

    @pytest.mark.parametrize("answer", RESOLVED.values(), ids=RESOLVED)
    def test_no_answer_of_a_resolver_does(self, answer):
        with receiver() as trap, pytest.raises(AddressRefused):
            fetch(f"https://example.org:{trap.port}/", guard=Guard(resolve=lambda host, port: answer))
        assert trap.hits == 0

    def test_a_name_that_turns_to_loopback_after_the_write_is_refused_at_the_call(self):
        answers = [[PUBLIC], ["127.0.0.1"]]
        guard = Guard(resolve=lambda host, port: answers.pop(0))
        with receiver() as trap:
            url = f"https://rebind.example:{trap.port}/"
            assert guard.check(url).addresses == (PUBLIC,)
            with pytest.raises(AddressRefused):
                fetch(url, guard=guard)
        assert trap.hits == 0

    def test_a_name_is_asked_for_once_a_call_and_the_answer_is_what_is_connected_to(self):
        """The second answer leads to the trap: whoever resolves again at the connect falls into it."""
        asked = []

        def turning(host, port):
            asked.append(host)
            return ["127.0.0.2"] if len(asked) == 1 else ["127.0.0.1"]

        with receiver() as trap, pytest.raises(Failed) as failed:
            fetch(f"http://rebind.example:{trap.port}/", guard=inside(resolve=turning))
        assert failed.value.code == "connect"
        assert asked == ["rebind.example"]
        assert trap.hits == 0

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_a_redirect_is_an_answer_and_not_followed(self, status):
        with receiver() as trap:
            to = f"HTTP/1.1 {status} Moved\r\nLocation: http://127.0.0.1:{trap.port}/\r\nContent-Length: 0\r\n\r\n"
            with receiver(says(to.encode())) as hook:
                answer = fetch(f"http://hook.example:{hook.port}/", guard=inside(resolve=loopback))
        assert answer.status == status
        assert (hook.hits, trap.hits) == (1, 0)


class TestBounds:
    def spend(self, behave, seconds=60, **more):
        """Call it: for long where it ends the call itself, however busy this machine is."""
        with receiver(behave) as hook:
            began = time.monotonic()
            try:
                return fetch(f"http://127.0.0.1:{hook.port}/", guard=inside(), seconds=seconds, **more)
            finally:
                assert time.monotonic() - began < 60  # those who trickle would take minutes
                assert hook.hits == 1

    @pytest.mark.parametrize("behave", [receivers.never_answers, receivers.trickles])
    def test_none_holds_it_longer_than_its_time(self, behave):
        with pytest.raises(Failed) as failed:
            self.spend(behave, seconds=1)
        assert failed.value.code == "timeout"

    @pytest.mark.parametrize(
        ("behave", "codes"),
        [
            (receivers.endless_headers, {"too_large", "protocol"}),
            (receivers.endless_continues, {"too_large"}),
            (receivers.closes, {"protocol"}),
            (says(b"220 mail.example ESMTP\r\n"), {"protocol"}),
        ],
    )
    def test_none_makes_it_read_without_end(self, behave, codes):
        with pytest.raises(Failed) as failed:
            self.spend(behave)
        assert failed.value.code in codes

    def test_a_body_of_ten_megabytes_is_cut(self):
        answer = self.spend(receivers.ten_megabytes, most_bytes=1000)
        assert (answer.status, len(answer.body), answer.is_whole) == (200, 1000, False)

    def test_a_body_that_never_ends_is_cut(self):
        def stalls(connection, hook):
            hook.read(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun")
            hook.is_over.wait(20)

        answer = self.spend(stalls, seconds=2)
        assert (answer.status, answer.body, answer.is_whole) == (200, b"begun", False)

    def test_a_packed_bomb_stays_packed(self):
        packed = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00"
        assert self.spend(says(packed)).body == b"\x1f\x8b\x08\x00"

    def test_nothing_listens(self):
        with receiver() as gone:
            pass
        with pytest.raises(Failed) as failed:
            fetch(f"http://127.0.0.1:{gone.port}/", guard=inside())
        assert failed.value.code == "connect"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """Make an authority, and a certificate of its for hook.example and 127.0.0.1."""
    folder = tmp_path_factory.mktemp("tls")
    now = datetime.datetime.now(datetime.UTC)

    def certificate(name, key, issuer, signer, *extensions):
        made = x509.CertificateBuilder().subject_name(name).issuer_name(issuer).public_key(key.public_key())
        made = made.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(1))
        made = made.not_valid_after(now + datetime.timedelta(1))
        for extension in extensions:
            made = made.add_extension(extension, critical=False)
        return made.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def named(text):
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    root, leaf = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    names = [x509.DNSName("hook.example"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    (folder / "ca.pem").write_bytes(
        certificate(
            named("Tests"),
            root,
            named("Tests"),
            root,
            x509.BasicConstraints(ca=True, path_length=None),
            x509.SubjectKeyIdentifier.from_public_key(root.public_key()),
        )
    )
    (folder / "leaf.pem").write_bytes(
        certificate(named("hook"), leaf, named("Tests"), root, x509.SubjectAlternativeName(names))
        + leaf.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return folder


class TestTLS:
    @pytest.fixture
    def tls(self, authority):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority / "leaf.pem")
        context.asked = []
        context.sni_callback = lambda stream, name, context: context.asked.append(name)
        return context

    def guard(self, ca_file=""):
        networks = addresses.parse_networks(["127.0.0.0/8"])
        return Guard(networks=networks, ca_file=str(ca_file), resolve=loopback)

    def test_the_certificate_is_checked_for_the_name_and_not_for_the_address_connected_to(self, authority, tls):
        with receiver(tls=tls) as hook:
            guard = self.guard(authority / "ca.pem")
            assert fetch(f"https://hook.example:{hook.port}/", guard=guard).status == 200
            assert tls.asked == ["hook.example"]
            assert fetch(f"https://127.0.0.1:{hook.port}/", guard=guard).status == 200
            with pytest.raises(Failed) as failed:
                fetch(f"https://other.example:{hook.port}/", guard=guard)
        assert failed.value.code == "tls"
        assert len(hook.received) == 2

    def test_an_authority_that_nobody_knows_is_not_believed(self, tls):
        with receiver(tls=tls) as hook, pytest.raises(Failed) as failed:
            fetch(f"https://hook.example:{hook.port}/", guard=self.guard())
        assert failed.value.code == "tls"
        assert hook.received == []

    def test_what_speaks_no_tls_is_told_nothing(self):
        def plain(connection, hook):
            connection.recv(1000)
            connection.sendall(receivers.OK)

        with receiver(plain) as hook, pytest.raises(Failed) as failed:
            fetch(f"https://hook.example:{hook.port}/", guard=self.guard(), body=b"told")
        assert failed.value.code == "tls"
