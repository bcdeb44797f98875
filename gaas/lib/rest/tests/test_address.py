from __future__ import annotations

from typing import Any

import pytest

from gaas.lib.rest.address import address_group, client_address


class TestClientAddress:
    @pytest.mark.parametrize(
        ("proxies", "forwarded", "expected"),
        [
            (0, "9.9.9.9", "10.0.0.1"),
            (0, None, "10.0.0.1"),
            (1, None, "10.0.0.1"),
            (1, "", "10.0.0.1"),
            (1, "9.9.9.9", "9.9.9.9"),
            (1, "6.6.6.6, 9.9.9.9", "9.9.9.9"),
            (2, "6.6.6.6, 9.9.9.9, 8.8.8.8", "9.9.9.9"),
            (2, "9.9.9.9", "10.0.0.1"),
            (1, "9.9.9.9:1234", "9.9.9.9"),
            (1, "[2001:db8::1]:1234", "2001:db8::1"),
            (1, "::ffff:9.9.9.9", "9.9.9.9"),
            (1, "x\r\ny", "10.0.0.1"),
            (1, "unknown", "10.0.0.1"),
            (1, "9" * 10_000, "10.0.0.1"),
        ],
    )
    def test_it_believes_trusted_proxies_alone(
        self, settings: Any, proxies: int, forwarded: str | None, expected: str
    ) -> None:
        settings.TRUSTED_PROXIES = proxies
        meta = {"REMOTE_ADDR": "10.0.0.1"} | ({} if forwarded is None else {"HTTP_X_FORWARDED_FOR": forwarded})
        assert client_address(meta) == expected

    def test_it_knows_none_on_a_socket(self, settings: Any) -> None:
        settings.TRUSTED_PROXIES = 0
        assert client_address({"REMOTE_ADDR": ""}) == ""


class TestAddressGroup:
    @pytest.mark.parametrize(
        ("address", "group"),
        [("10.0.0.1", "10.0.0.1"), ("2001:db8::1", "2001:db8::/64"), ("", ""), ("x", "x")],
    )
    def test_it_counts_a_whole_ipv6_network_as_one(self, address: str, group: str) -> None:
        assert address_group(address) == group
