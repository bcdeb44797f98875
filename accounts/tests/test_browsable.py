from __future__ import annotations

import pytest
from django.test import Client

from accounts import services
from accounts.models import QuotaRequest
from accounts.services import request_quota
from gaas.lib import clock

pytestmark = pytest.mark.django_db


@pytest.fixture
def browser(alice):
    client = Client(enforce_csrf_checks=True, headers={"accept": "text/html"})
    client.force_login(alice)
    return client


class TestBrowsableApi:
    @pytest.mark.parametrize("path", ["users/me", "accounts", "quota-requests"])
    def test_it_opens_in_a_browser(self, browser, path):
        answer = browser.get(f"/api/v1/{path}/")
        assert answer.status_code == 200
        assert answer["Content-Type"].startswith("text/html")

    @pytest.mark.parametrize(
        "path", ["auth/register", "auth/token", "auth/token/refresh", "auth/token/verify", "auth/logout"]
    )
    def test_what_only_takes_posts_shows_its_form(self, browser, path):
        answer = browser.get(f"/api/v1/{path}/")
        assert answer.status_code == 405
        assert "<form" in answer.content.decode()

    def test_accounts_open_with_their_transfers(self, browser, alice):
        url = f"/api/v1/accounts/{alice.personal_account.pk}/"
        assert browser.get(url).status_code == browser.get(f"{url}transfers/").status_code == 200

    def test_its_form_asks_for_hours(self, browser, alice):
        page = browser.get("/api/v1/quota-requests/").content.decode()
        assert 'name="hours"' in page
        assert 'name="decided_by"' not in page
        form = {"account": "", "hours": "2.5", "reason": "A deadline"}
        assert browser.post("/api/v1/quota-requests/", form).status_code == 403
        token = browser.cookies["csrftoken"].value
        answer = browser.post("/api/v1/quota-requests/", {**form, "csrfmiddlewaretoken": token})
        assert answer.status_code == 201
        assert QuotaRequest.objects.get().gpu_ms == 9_000_000

    def test_its_form_approves_with_the_hours_left_out(self, browser, alice, dana):
        asked = request_quota(account=dana.personal_account, gpu_ms=1000, by=dana, reason="x")
        alice.is_superuser = True
        alice.save()
        url = f"/api/v1/quota-requests/{asked.pk}/approve/"
        assert 'name="hours"' in browser.get(url).content.decode()
        form = {"hours": "", "reason": "", "csrfmiddlewaretoken": browser.cookies["csrftoken"].value}
        assert browser.post(url, form).status_code == 200
        asked.refresh_from_db()
        assert asked.granted_ms == 1000

    @pytest.mark.parametrize(
        ("path", "shown"),
        [
            ("", 'data-method="PATCH"'),
            ("children/", 'name="pays_from"'),
            ("members/", 'name="email"'),
            ("invitations/", "<html"),
            ("caps/", 'name="period"'),
            ("thresholds/", 'name="amount_usd"'),
        ],
    )
    def test_what_families_need_opens_with_its_form(self, browser, alice, lab, path, shown):
        child = services.create_child(parent=lab, name="Child", by=alice)
        services.set_cap(account=child, asset="GPU", period="day", limit=1, by=alice, now=clock.now())
        services.set_threshold(account=child, asset="GPU", above=1, by=alice)
        for account in (lab, child):
            answer = browser.get(f"/api/v1/accounts/{account.pk}/{path}")
            assert answer.status_code == 200
            assert shown in answer.content.decode()

    @pytest.mark.parametrize(("verb", "field"), [("fund", "to"), ("reclaim", "from"), ("close", "reason")])
    def test_verbs_of_an_account_show_their_forms(self, browser, lab, verb, field):
        answer = browser.get(f"/api/v1/accounts/{lab.pk}/{verb}/")
        assert answer.status_code == 405
        assert f'name="{field}"' in answer.content.decode()

    def test_the_link_of_a_letter_opens_the_form_with_its_token(self, browser):
        page = browser.get("/api/v1/invitations/accept/?token=abc").content.decode()
        assert 'value="abc"' in page
