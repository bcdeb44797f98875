"""The API of payments: owners begin, the account sees, staff send back; nobody else knows of any."""

from __future__ import annotations

import pytest
from django.urls import reverse

from accounts.ledger.models import Transfer
from payments.models import Payment
from payments.tests.conftest import USD

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]

URL = "/api/v1/payments/"


@pytest.fixture
def post(api, alice, lab):
    def send(body, by=alice, key="k1", url=URL):
        headers = {"Idempotency-Key": key} if key else {}
        return api(by).post(url, body, format="json", headers=headers)

    return send


@pytest.fixture
def body(lab):
    return {"provider": "manual", "amount_usd": "20", "account": str(lab.pk)}


class TestCreate:
    def test_an_owner_is_told_what_to_do(self, post, body, lab):
        answer = post(body)
        assert answer.status_code == 201
        payment = answer.json()
        assert (payment["status"], payment["amount_usd"], payment["amount_microusd"]) == (
            "PENDING",
            "20.000000",
            20 * USD,
        )
        assert payment["instructions"]["reference"].startswith("GAAS-")

    def test_sent_twice_it_is_one(self, post, body):
        first, again = post(body), post(body)
        assert first.content == again.content
        assert again["Idempotent-Replayed"] == "true"
        assert Payment.objects.count() == 1

    def test_it_wants_a_key(self, post, body):
        answer = post(body, key="")
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "idempotency_key_required")

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"amount_usd": 1.5}, "not_exact"),
            ({"amount_usd": "0"}, "min_value"),
            ({"amount_usd": "-5"}, "not_exact"),
            ({"amount_usd": "1e30"}, "not_exact"),
            ({"amount_usd": "1.0000001"}, "not_exact"),
            ({"amount_usd": "0.5"}, "amount_out_of_bounds"),
            ({"amount_usd": "1000000"}, "amount_out_of_bounds"),
            ({"provider": "cheque"}, "invalid_choice"),
            ({"provider": "stripe"}, "provider_not_set_up"),
            ({"currency": "EUR"}, "unknown_field"),
            ({"status": "SUCCEEDED"}, "unknown_field"),
        ],
        ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else value,
    )
    def test_bad_input_is_named(self, post, body, changes, code):
        answer = post({**body, **changes})
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, code)
        assert not Payment.objects.exists()

    def test_a_member_may_not(self, post, body, bob):
        assert post(body, by=bob).status_code == 403

    def test_another_account_is_not_there(self, post, body, charlie):
        answer = post(body, by=charlie)
        assert (answer.status_code, answer.json()["errors"][0]["attr"]) == (404, "account")


class TestSee:
    def test_the_account_sees_what_happened(self, api, bob, paid):
        payment = paid(50)
        shown = api(bob).get(f"{URL}{payment.pk}/").json()
        assert [event["to_status"] for event in shown["events"]] == ["PENDING", "SUCCEEDED"]
        assert shown["received_usd"] == "50.000000"
        assert "provider_key" not in shown

    def test_case_65_an_outsider_gets_the_404_of_an_unknown_id(self, api, charlie, paid):
        payment = paid(50)
        for verb, address in (("get", ""), ("post", "cancel/")):
            answer = getattr(api(charlie), verb)(f"{URL}{payment.pk}/{address}")
            assert answer.status_code == 404
        assert api(charlie).get(URL).json()["results"] == []

    def test_lists_ask_as_often_whatever_their_length(self, api, alice, paid, django_assert_max_num_queries):
        for number in range(5):
            paid(10, f"R-{number}")
        client = api(alice)
        client.get(URL)
        with django_assert_max_num_queries(6):
            assert len(client.get(URL).json()["results"]) == 5

    def test_a_filter_that_is_unknown_is_refused(self, api, alice):
        assert api(alice).get(URL, {"state": "x"}).status_code == 400


class TestVerbs:
    def test_cancel(self, post, body, api, alice):
        payment = post(body).json()
        answer = api(alice).post(f"{URL}{payment['id']}/cancel/")
        assert (answer.status_code, answer.json()["status"]) == (200, "CANCELLED")
        assert api(alice).post(f"{URL}{payment['id']}/cancel/").status_code == 409

    def test_staff_refund_by_a_key(self, post, paid, fay, wallet):
        payment = paid(50)
        url = f"{URL}{payment.pk}/refund/"
        for _ in range(2):
            answer = post({"amount_usd": "20", "reason": "Paid twice"}, by=fay, url=url)
            assert (answer.status_code, answer.json()["status"]) == (201, "REQUESTED")
        assert wallet() == 30 * USD

    def test_case_26_the_same_key_of_two_users_is_two_effects(self, post, body, alice, root, lab):
        assert post(body).status_code == 201
        lab.memberships.create(user=root, role="OWNER")
        assert post(body, by=root).status_code == 201
        assert Payment.objects.count() == 2

    def test_an_owner_does_not_refund_oneself(self, post, paid, alice):
        payment = paid(50)
        answer = post({"reason": "I want it back"}, url=f"{URL}{payment.pk}/refund/")
        assert answer.status_code == 403
        assert not Transfer.objects.filter(kind="refund").exists()

    def test_refund_beyond_what_came_in_is_refused(self, post, paid, fay):
        payment = paid(50)
        answer = post({"amount_usd": "50.000001", "reason": "x"}, by=fay, url=f"{URL}{payment.pk}/refund/")
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "refund_too_large")


class TestAdmin:
    def test_finance_records_and_a_second_person_approves(self, client, fay, fred, lab, wallet):
        client.force_login(fay)
        fields = {"account": lab.pk, "amount": "500", "method": "bank transfer", "reference": "R-7", "reason": ""}
        answer = client.post(reverse("admin:payments_payment_add"), fields, follow=True)
        assert answer.status_code == 200
        payment = Payment.objects.get()
        assert (payment.status, wallet()) == ("PENDING", 0)
        approve = reverse("admin:payments_payment_approve", args=[payment.pk])
        client.post(approve, {}, follow=True)
        assert wallet() == 0
        client.force_login(fred)
        client.post(approve, {}, follow=True)
        assert wallet() == 500 * USD

    def test_what_is_wrong_stands_at_its_field(self, client, fay, lab, paid):
        paid(50, "R-1")
        client.force_login(fay)
        fields = {"account": lab.pk, "amount": "5", "method": "bank transfer", "reference": "R-1", "reason": ""}
        answer = client.post(reverse("admin:payments_payment_add"), fields)
        assert "was recorded before" in str(answer.context["adminform"].form.errors["reference"])
        assert Payment.objects.count() == 1

    @pytest.mark.parametrize("name", ["payment", "refund", "dispute", "review", "charge"])
    def test_lists_open(self, client, fay, paid, name):
        paid(50)
        client.force_login(fay)
        assert client.get(reverse(f"admin:payments_{name}_changelist")).status_code == 200

    def test_a_page_shows_what_happened(self, client, fay, paid):
        payment = paid(50)
        client.force_login(fay)
        page = client.get(reverse("admin:payments_payment_change", args=[payment.pk]))
        assert page.status_code == 200
        assert "Came in: bank transfer R-1." in page.content.decode()


class TestSecrets:
    def test_only_who_began_a_payment_is_given_its_secret(self, api, alice, bob, lab):
        payment = Payment.objects.create(
            account=lab,
            provider="stripe",
            created_by=alice,
            amount=USD,
            provider_key="k",
            instructions={"client_secret": "pi_1_secret_2", "publishable_key": "pk"},
        )
        address = f"{URL}{payment.pk}/"
        assert api(alice).get(address).json()["instructions"]["client_secret"] == "pi_1_secret_2"
        for url in (address, URL):
            answer = api(bob).get(url)
            assert answer.status_code == 200
            assert b"secret_2" not in answer.content
