"""What may be called and what not, decided before a socket is opened."""

from __future__ import annotations

import ipaddress
import socket
import threading

import pytest

from gaas.lib.net import AddressRefused, Guard, addresses, guard
from gaas.lib.net.tests.spellings import RESOLVED, WRITTEN

PUBLIC = "93.184.215.14"


def public(host, port):
    return [PUBLIC]


def guarded(*networks, **more):
    return Guard(networks=addresses.parse_networks(networks), **{"resolve": public, **more})


class TestCheck:
    @pytest.mark.parametrize(
        ("written", "host", "port", "url"),
        [
            ("https://example.org", "example.org", 443, "https://example.org/"),
            ("HTTPS://Example.ORG:443/Hook?a=b#c", "example.org", 443, "https://example.org/Hook?a=b"),
            ("https://example.org.:8443/", "example.org", 8443, "https://example.org:8443/"),
            ("https://bücher.example/", "xn--bcher-kva.example", 443, "https://xn--bcher-kva.example/"),
            ("https://example.org?x", "example.org", 443, "https://example.org/?x"),
            (f"https://{PUBLIC}/", PUBLIC, 443, f"https://{PUBLIC}/"),
            ("https://[2606:2800:021f::1]/", "2606:2800:21f::1", 443, "https://[2606:2800:21f::1]/"),
            ("https://my_host.example/%7Ea", "my_host.example", 443, "https://my_host.example/%7Ea"),
        ],
    )
    def test_it_takes_what_is_public_and_writes_it_one_way(self, written, host, port, url):
        target = guarded().check(written)
        assert (target.host, target.port, target.url) == (host, port, url)
        assert target.addresses

    @pytest.mark.parametrize("spelling", WRITTEN)
    def test_it_refuses_every_spelling(self, spelling):
        with pytest.raises(AddressRefused) as refused:
            guarded().check(WRITTEN[spelling].format(port=8443))
        assert refused.value.code == "url_refused"

    @pytest.mark.parametrize("answer", RESOLVED.values(), ids=RESOLVED)
    def test_it_refuses_a_name_any_of_whose_addresses_leads_inside(self, answer):
        with pytest.raises(AddressRefused):
            guarded(resolve=lambda host, port: answer).check("https://example.org/")

    def test_it_tells_an_inner_name_from_none_to_nobody(self):
        def none(host, port):
            raise OSError("no such name")

        said = set()
        for resolver in (none, lambda host, port: ["10.0.0.1"]):
            with pytest.raises(AddressRefused) as refused:
                guarded(resolve=resolver).check("https://vault.internal/")
            said.add(refused.value.detail)
        assert len(said) == 1

    def test_it_refuses_what_is_no_text(self):
        with pytest.raises(AddressRefused):
            guarded().check(None)

    def test_it_refuses_this_machine_by_its_public_address(self, monkeypatch):
        # No machine that runs tests need have a public address of its own.
        monkeypatch.setattr(guard, "own_addresses", lambda: frozenset({PUBLIC}))
        with pytest.raises(AddressRefused):
            guarded().check("https://example.org/")

    def test_this_machine_has_addresses(self):
        assert "127.0.0.1" in addresses.own_addresses()


class TestNetworks:
    def test_a_named_network_is_let_in(self):
        let_in = guarded("10.0.0.0/8", resolve=lambda host, port: ["10.1.2.3"])
        assert let_in.check("https://hooks.inside/").addresses == ("10.1.2.3",)
        assert let_in.check("https://10.1.2.3/").addresses == ("10.1.2.3",)

    @pytest.mark.parametrize(
        ("network", "address"),
        [
            ("0.0.0.0/0", "127.0.0.1"),
            ("0.0.0.0/0", "169.254.169.254"),
            ("0.0.0.0/0", "0.0.0.0"),
            ("::/0", "::1"),
            ("::/0", "fe80::1"),
            ("fd00::/8", "fd00:ec2::254"),
            ("100.64.0.0/10", "100.100.100.200"),
            ("10.0.0.0/8", "::ffff:10.0.0.1"),
            ("10.0.0.0/8", "192.168.0.1"),
        ],
    )
    def test_it_lets_in_no_loopback_or_metadata_by_the_way(self, network, address):
        with pytest.raises(AddressRefused):
            guarded(network, resolve=lambda host, port: [address]).check("https://example.org/")

    @pytest.mark.parametrize(
        ("network", "address"), [("127.0.0.0/8", "127.0.0.1"), ("::1/128", "::1"), ("169.254.169.254/32",) * 2]
    )
    def test_it_lets_them_in_where_they_are_named(self, network, address):
        address = address.partition("/")[0]
        checked = guarded(network, resolve=lambda host, port: [address]).check("https://example.org/")
        assert checked.addresses == (address,)

    def test_a_name_that_means_loopback_is_let_in_with_it(self):
        assert guarded("127.0.0.0/8").check("https://localhost/").addresses == ("127.0.0.1",)

    def test_http_is_for_who_allows_it(self):
        assert guarded(is_http_allowed=True).check("http://example.org/").port == 80

    def test_what_is_no_network_is_said(self):
        with pytest.raises(ValueError):
            addresses.parse_networks(["inside"])


class TestGlobal:
    @pytest.mark.parametrize("text", ["8.8.8.8", "1.1.1.1", "93.184.215.14", "2606:4700::1111", "2a00:1450::1"])
    def test_the_internet_is(self, text):
        assert addresses.is_global(ipaddress.ip_address(text))

    @pytest.mark.parametrize("block", [str(network) for network in addresses._SPECIAL])
    def test_no_special_block_is_from_its_first_address_to_its_last(self, block):
        network = ipaddress.ip_network(block)
        assert not addresses.is_global(network[0])
        assert not addresses.is_global(network[-1])


class TestResolve:
    def test_it_gives_each_address_once(self):
        assert guard.resolve("127.0.0.1", 443) == ["127.0.0.1"]

    def test_it_waits_no_longer_than_its_time(self, monkeypatch):
        # A name server that never answers: the library's call cannot be made to hang by a socket of ours.
        is_over = threading.Event()
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **more: is_over.wait(20) and [])
        monkeypatch.setattr(guard, "RESOLVE_SECONDS", 0.05)
        try:
            with pytest.raises(TimeoutError):
                guard.resolve("slow.example", 443)
        finally:
            is_over.set()

    def test_a_name_that_nothing_has_is_an_os_error(self):
        with pytest.raises(OSError):
            guard.resolve("no such name.invalid", 443)
