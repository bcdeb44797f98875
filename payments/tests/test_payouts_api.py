"""The API of payouts: owners ask, staff agree, the account sees; nobody else knows of a payout or of where it goes."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.urls import reverse

from accounts.choices import Scope
from accounts.models import Membership, User
from accounts.services.keys import create_key
from gaas.lib import clock
from payments import services
from payments.models import Payout, PayoutDestination
from payments.tests.conftest import CONNECT, IBAN, USD

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]

URL, PLACES = "/api/v1/payouts/", "/api/v1/payout-destinations/"


@pytest.fixture
def post(api, alice):
    def send(url, body=None, by=alice, key=None):
        key = url if key is None else key
        return api(by).post(url, body or {}, format="json", headers={"Idempotency-Key": key} if key else {})

    return send


@pytest.fixture
def body(place, earned):
    return {"amount_usd": "40", "destination": str(place().pk)}


def code_of(answer):
    return answer.status_code, answer.json()["errors"][0]["code"]


class TestCreate:
    def test_an_owner_asks(self, post, body, earned):
        answer = post(URL, body)
        assert answer.status_code == 201
        shown = answer.json()
        assert (shown["status"], shown["net_usd"], shown["sent_to"]) == ("REQUESTED", "40.000000", "…3000")
        assert earned() == 60 * USD

    def test_sent_twice_it_is_one_and_it_wants_a_key(self, post, body, earned):
        assert post(URL, body).content == post(URL, body).content
        assert (Payout.objects.count(), earned()) == (1, 60 * USD)
        assert code_of(post(URL, body, key="")) == (400, "idempotency_key_required")
        assert code_of(post(URL, {**body, "amount_usd": "41"})) == (422, "idempotency_key_reused")

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"amount_usd": 40.5}, "not_exact"),
            ({"amount_usd": "-40"}, "not_exact"),
            ({"amount_usd": "1e30"}, "not_exact"),
            ({"amount_usd": "0"}, "min_value"),
            ({"amount_usd": "9"}, "amount_out_of_bounds"),
            ({"amount_usd": "40.001"}, "not_whole_cents"),
            ({"amount_usd": "100.01"}, "insufficient_funds"),
            ({"fee_usd": "0"}, "unknown_field"),
            ({"currency": "EUR"}, "unknown_field"),
            ({"destination": "x"}, "invalid"),
        ],
        ids=str,
    )
    def test_bad_input_is_named(self, post, body, changes, code):
        answer = post(URL, {**body, **changes})
        assert code_of(answer) == (400, code)
        assert not Payout.objects.exists()

    def test_a_new_destination_at_once_is_refused(self, post, body, lab, alice):
        made = post(PLACES, {"kind": "manual", "detail": "Another", "account": str(lab.pk)}).json()
        answer = post(URL, {**body, "destination": made["id"]}, key="k2")
        assert code_of(answer) == (409, "destination_too_new")
        assert answer.json()["errors"][0]["attr"] == "destination"


class TestSee:
    def test_case_65_a_stranger_gets_the_404_of_an_unknown_id(self, post, api, body, charlie, earned):
        payout, where = post(URL, body).json(), body["destination"]
        about = {"manual": (PLACES, where, "retire/"), "payout": (URL, payout["id"], "cancel/")}
        for url, pk, verb in about.values():
            for path in ("", verb):
                method = "post" if path else "get"
                theirs = getattr(api(charlie), method)(f"{url}{pk}/{path}")
                nobodys = getattr(api(charlie), method)(f"{url}{uuid4()}/{path}")
                assert theirs.status_code == nobodys.status_code == 404
                assert theirs.json()["errors"] == nobodys.json()["errors"]
            assert api(charlie).get(url).json()["results"] == []
        # Nor may earnings of one's own be sent to somebody else's, or that be replaced.
        theirs = post(URL, {**body, "amount_usd": "10"}, by=charlie)
        nobodys = post(URL, {"destination": str(uuid4()), "amount_usd": "10"}, by=charlie, key="k2")
        assert theirs.status_code == nobodys.status_code == 404
        assert theirs.json()["errors"] == nobodys.json()["errors"]
        replaced = post(PLACES, {"kind": "manual", "detail": "Mine", "replaces": where}, by=charlie)
        assert replaced.status_code == 404
        assert PayoutDestination.objects.get(pk=where).retired_at is None
        assert earned() == 60 * USD

    def test_case_65_nor_a_payout_to_a_place_of_another_account_of_ones_own(self, post, place, alice, earned):
        """Money goes from the account that the destination is of, whoever owns others besides."""
        mine = services.add_destination(
            account=alice.personal_account,
            kind="manual",
            detail=IBAN,
            by=User.objects.get(pk=place().created_by_id),
            now=clock.now().replace(year=2020),
        )
        assert code_of(post(URL, {"amount_usd": "40", "destination": str(mine.pk)})) == (400, "insufficient_funds")
        assert earned() == 100 * USD

    def test_whole_to_owners_and_to_who_pays_else_masked(self, api, body, alice, bob, fay, lab):
        def seen_by(user):
            (row,) = api(user).get(PLACES).json()["results"]
            assert row["detail"] == api(user).get(f"{PLACES}{row['id']}/").json()["detail"]
            return row["detail"]

        assert (seen_by(alice), seen_by(fay), seen_by(bob)) == (IBAN, IBAN, "…3000")
        Membership.objects.filter(user=bob).update(role="MANAGER")
        assert seen_by(bob) == "…3000"

    def test_lists_ask_as_often_whatever_their_length(self, api, alice, place, asked, django_assert_max_num_queries):
        for number in range(4):
            place("manual", f"Account {number}")
            asked(10)
        client = api(alice)
        for url, most in ((PLACES, 8), (URL, 6)):
            client.get(url)
            with django_assert_max_num_queries(most):
                assert len(client.get(url).json()["results"]) >= 4

    def test_what_happened_and_filters(self, post, api, body, alice):
        payout = post(URL, body).json()
        shown = api(alice).get(f"{URL}{payout['id']}/").json()
        assert [event["to_status"] for event in shown["events"]] == ["REQUESTED"]
        assert api(alice).get(URL, {"status": "PAID"}).json()["results"] == []
        assert len(api(alice).get(PLACES, {"in_use": "true"}).json()["results"]) == 1
        assert api(alice).get(URL, {"state": "x"}).status_code == 400


class TestKeys:
    def test_a_key_asks_for_payouts_and_does_not_say_where_to(self, client, body, alice, lab):
        scopes = [Scope.PAYMENTS_READ, Scope.PAYMENTS_WRITE]
        _, text = create_key(user=alice, name="robot", scopes=scopes, now=clock.now())
        headers = {"Authorization": f"Api-Key {text}", "Idempotency-Key": "k"}
        how = {"headers": headers, "content_type": "application/json"}
        assert client.post(URL, body, **how).status_code == 201
        place = {"kind": "manual", "detail": "Elsewhere", "account": str(lab.pk)}
        assert client.post(PLACES, place, **how).status_code == 403
        assert client.post(f"{PLACES}{body['destination']}/retire/", {}, **how).status_code == 403


class TestVerbs:
    def test_staff_agree_and_owners_do_not(self, post, body, alice, fay):
        payout = post(URL, body).json()
        assert post(f"{URL}{payout['id']}/approve/").status_code == 403
        answer = post(f"{URL}{payout['id']}/approve/", by=fay)
        assert (answer.status_code, answer.json()["status"]) == (200, "APPROVED")
        assert code_of(post(f"{URL}{payout['id']}/reject/", {"reason": "No"}, by=fay)) == (409, "wrong_state")

    def test_case_45_requester_approves_own(self, post, body, fay, lab):
        Membership.objects.create(user=fay, account=lab, role="OWNER")
        User.objects.filter(pk=fay.pk).update(email_verified_at=clock.now())
        payout = post(URL, body, by=User.objects.get(pk=fay.pk)).json()
        assert code_of(post(f"{URL}{payout['id']}/approve/", by=fay)) == (403, "own_payout")

    def test_cancel_and_reject(self, post, body, fay, earned):
        first = post(URL, body).json()
        assert post(f"{URL}{first['id']}/cancel/").json()["status"] == "CANCELLED"
        second = post(URL, body, key="k2").json()
        rejected = post(f"{URL}{second['id']}/reject/", {"reason": "Wrong name"}, by=fay).json()
        assert rejected["failure"] == {"code": "rejected", "detail": "Wrong name"}
        assert earned() == 100 * USD

    def test_a_destination_is_replaced_and_retired(self, post, body, lab):
        place = {"kind": "manual", "detail": "DE02 1203 0000 0000 2020 51", "account": str(lab.pk)}
        answer = post(PLACES, {**place, "replaces": body["destination"]}).json()
        assert answer["replaces"] == body["destination"]
        assert post(f"{PLACES}{answer['id']}/retire/").json()["retired_at"]
        assert post(f"{PLACES}{answer['id']}/retire/", key="k3").status_code == 409
        assert code_of(post(PLACES, {**place, "kind": "stripe", "detail": CONNECT}, key="k4")) == (
            400,
            "provider_not_set_up",
        )


class TestAdmin:
    @pytest.fixture
    def press(self, client):
        def send(name, payout, by, **fields):
            client.force_login(by)
            url = reverse(f"admin:payments_payout_{name}", args=[payout.pk])
            answer = client.post(url, fields, follow=True)
            assert answer.status_code == 200
            return answer.content.decode()

        return send

    def test_two_of_finance_pay_by_hand(self, press, asked, fay, fred, settings):
        settings.MANUAL_PAYMENT_LIMIT_USD = "1"
        payout = asked(40)
        press("approve", payout, fay)
        assert "A second person has to send" in press("begin_sending", payout, fay)
        assert IBAN in press("begin_sending", payout, fred)
        press("note_sent", payout, fred, reference="OUT-7")
        payout.refresh_from_db()
        assert (payout.status, payout.reference, payout.sent_by) == ("PAID", "OUT-7", fred)
        back = {"amount": "40", "reason": "Account closed"}
        assert "A second person has to say" in press("came_back", payout, fred, **back)
        press("came_back", payout, fay, **back)
        payout.refresh_from_db()
        assert (payout.status, payout.returned) == ("RETURNED", 40 * USD)

    def test_the_first_page_tells_what_waits(self, client, asked, agreed, fay):
        asked(10)
        agreed(20)
        client.force_login(fay)
        cards = {card["title"]: card["count"] for card in client.get(reverse("admin:index")).context["cards"]}
        assert (cards["Payouts to approve"], cards["Payouts to send"]) == ("1", "1")

    def test_reject_and_give_up(self, press, asked, fay, fred):
        payout = asked(40)
        press("reject", payout, fay, reason="No")
        other = asked(40)
        press("approve", other, fay)
        press("begin_sending", other, fred)
        press("give_up", other, fay, reason="Wrong name")
        assert sorted(Payout.objects.values_list("status", flat=True)) == ["FAILED", "REJECTED"]

    @pytest.mark.parametrize(("name", "sees"), [("fay", True), ("auditor", False)])
    def test_lists_open_and_destinations_are_masked_to_who_does_not_pay(self, client, asked, fay, name, sees):
        payout = asked(40)
        user = fay if name == "fay" else _auditor()
        client.force_login(user)
        for model, row in (("payout", payout), ("payoutdestination", payout.destination)):
            listed = client.get(reverse(f"admin:payments_{model}_changelist"))
            page = client.get(reverse(f"admin:payments_{model}_change", args=[row.pk]))
            assert (listed.status_code, page.status_code) == (200, 200)
            assert (IBAN in page.content.decode()) is sees
            assert IBAN not in listed.content.decode()


def _auditor():
    from django.contrib.auth.models import Group

    from gaas.tests.cast import make_user

    user = make_user("Audrey", is_staff=True)
    user.groups.add(Group.objects.get(name="Auditors"))
    return user
