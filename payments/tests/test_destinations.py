"""Where earnings may go: only what is written right, only by an owner, never at once, never unseen by the owners."""

from __future__ import annotations

import hashlib

import pytest

from accounts.models import Membership, User
from gaas.audit.models import AuditEvent
from gaas.lib import clock
from gaas.lib.errors import Conflict, DomainError, NotAllowed
from gaas.outbox.models import Mail
from payments import services
from payments.addresses import as_stored, checksummed, is_iban, masked
from payments.keccak import keccak256
from payments.models import PayoutDestination
from payments.providers import ProviderNotSetUp
from payments.tests.conftest import CONNECT, EVM, IBAN

# The examples of EIP-55 itself.
EIP_55 = [
    "0x52908400098527886E0F7030069857D2E4169EE7",
    "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
    "0xde709f2102306220921060314715629080e2fb77",
    "0x27b1fdb04752bbc536007a920d24acb045561c26",
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
]


class TestKeccak:
    @pytest.mark.parametrize("size", [0, 1, 31, 135, 136, 137, 272, 1000])
    def test_it_is_sha3_but_for_the_padding(self, size):
        data = bytes(number % 251 for number in range(size))
        assert keccak256(data, padding=0x06) == hashlib.sha3_256(data).digest()

    def test_what_ethereum_hashes(self):
        # The topic of ERC-20's event, as every chain has it.
        digest = keccak256(b"Transfer(address,address,uint256)").hex()
        assert digest == "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"


class TestShape:
    @pytest.mark.parametrize("address", EIP_55)
    def test_checksums_of_the_standard(self, address):
        assert checksummed(address.lower()) == address
        assert as_stored("onchain", f" {address} ") == address

    @pytest.mark.parametrize(
        ("kind", "detail"),
        [
            ("onchain", EVM.lower()),
            ("onchain", EVM.replace("aA", "AA")),
            ("onchain", EVM[:-1] + "c"),
            ("onchain", EVM[:-1]),
            ("onchain", "0x" + "0" * 40),
            ("onchain", "vitalik.eth"),
            ("stripe", "ca_123456789"),
            ("stripe", "acct_1"),
            ("manual", "   "),
            ("manual", "DE89 3704 0044 0532 0130 01"),
            ("manual", "DE89 3704 0044 0532 0130 01, Alice Example"),
        ],
    )
    def test_slips_are_refused(self, kind, detail):
        with pytest.raises(DomainError) as refused:
            as_stored(kind, detail)
        assert refused.value.attr == "detail"

    def test_what_is_no_iban_is_left_to_people(self):
        assert is_iban("DE89370400440532013000")
        assert as_stored("manual", "  Account 12-34,  Alice  Example ") == "Account 12-34, Alice Example"

    def test_masked(self):
        assert masked("onchain", EVM) == "0x5aAe…eAed"
        assert masked("stripe", CONNECT) == "acct_…lo2C"
        assert masked("manual", f"{IBAN}, Alice Example") == "…3000"
        assert masked("manual", "Box 12") == "…"


@pytest.mark.django_db
class TestAdd:
    @pytest.fixture(autouse=True)
    def _confirmed(self, alice):
        User.objects.filter(pk=alice.pk).update(email_verified_at=clock.now())
        alice.refresh_from_db()

    @pytest.fixture
    def add(self, lab, alice):
        def make(kind="manual", detail=IBAN, by=alice, **about):
            return services.add_destination(account=lab, kind=kind, detail=detail, by=by, now=clock.now(), **about)

        return make

    def test_the_owners_are_told_and_the_record_keeps_it(self, add, alice):
        where = add(label="House bank")
        letter = Mail.objects.get(key__startswith=f"destination:{where.pk}")
        assert letter.to == alice.email
        assert "Manual …3000 (House bank)" in letter.body
        event = AuditEvent.objects.get(action="payout_destination.add")
        assert (event.object_id, event.after["detail"]) == (str(where.pk), "…3000")

    def test_nothing_goes_there_for_a_while(self, add, settings):
        where = add()
        assert (where.usable_at - where.created_at).total_seconds() > settings.PAYOUT_COOLDOWN_SECONDS - 10
        assert not where.is_usable(now=clock.now())

    def test_a_change_is_a_new_row_that_waits_anew(self, add, alice):
        old = add()
        new = add(detail="DE02 1203 0000 0000 2020 51", replaces=old)
        old.refresh_from_db()
        assert (old.retired_by, new.replaces, old.detail) == (alice, old, IBAN)
        assert new.usable_at >= new.created_at
        with pytest.raises(Conflict, match="out of use"):
            add(detail="Somewhere", replaces=old)
        assert "It replaces Manual …3000" in Mail.objects.get(key__contains=f"{new.pk}:replaced").body

    def test_only_an_owner_with_a_confirmed_address(self, add, bob, lab, alice):
        with pytest.raises(NotAllowed):
            add(by=bob)
        Membership.objects.filter(user=bob).update(role="MANAGER")
        with pytest.raises(NotAllowed):
            add(by=bob)
        User.objects.filter(pk=alice.pk).update(email_verified_at=None)
        with pytest.raises(NotAllowed) as refused:
            add(by=User.objects.get(pk=alice.pk))
        assert refused.value.code == "email_not_verified"

    def test_the_same_is_not_added_twice(self, add):
        add()
        with pytest.raises(Conflict):
            add(detail=f" {IBAN} ")

    def test_a_way_that_is_not_set_up_is_named(self, add):
        with pytest.raises(ProviderNotSetUp) as refused:
            add("stripe", CONNECT)
        assert refused.value.attr == "kind"

    def test_an_account_has_a_few(self, add):
        for number in range(10):
            add(detail=f"Account {number}")
        with pytest.raises(Conflict, match="at most 10"):
            add(detail="One more")

    def test_retired_it_may_be_added_anew_and_waits_again(self, add, alice):
        old = add()
        services.retire_destination(destination=old, by=alice, now=clock.now())
        with pytest.raises(Conflict):
            services.retire_destination(destination=old, by=alice, now=clock.now())
        assert add().usable_at > old.usable_at
        assert PayoutDestination.objects.in_use().count() == 1
