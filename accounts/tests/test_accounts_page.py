from __future__ import annotations

import pytest
from django.test import Client

from accounts import services
from accounts.ledger.models import Transfer
from accounts.models import Account, ApprovalThreshold, CapRule
from accounts.tests.conftest import HOUR, USD
from gaas.audit.models import AuditEvent
from gaas.lib import clock

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]

LIST = "/accounts/all/"


@pytest.fixture
def web(client):
    def as_user(user):
        client.force_login(user)
        return client

    return as_user


def url(account):
    return f"/accounts/{account.pk}/"


def text(answer, status=200):
    assert answer.status_code == status, answer.content.decode()[-2000:]
    return answer.content.decode()


def share(verb="fund", amount="2.5", asset="GPU", key="k1"):
    return {"do": verb, "of": "", "amount": amount, "asset": asset, "key": key}


def cap(amount="5", asset="GPU", period="week"):
    return {"do": "set_cap", "of": "", "amount": amount, "asset": asset, "period": period}


class TestAccountsPage:
    def test_it_lists_what_each_has(self, web, head, school):
        shown = text(web(head).get(LIST))
        assert "100 GPU-hours" in shown
        assert "100.00 USD" in shown
        assert f'href="{url(school)}"' in shown

    def test_it_begins_with_ones_own(self, web, head):
        page = web(head).get(LIST).context["page"]
        assert page[0].person == head

    def test_it_says_what_to_do_next_to_who_has_but_their_own(self, web, charlie):
        assert "make an account for your organisation" in text(web(charlie).get(LIST))

    def test_it_makes_an_account(self, web, charlie):
        answer = web(charlie).post(LIST, {"do": "create_account", "of": "", "name": "Club"})
        assert answer["Location"] == url(Account.objects.get(name="Club"))

    @pytest.mark.parametrize("name", ["", " ", "x" * 151, "a\u202eb", "a\x00b"])
    def test_it_refuses_a_name_that_is_none(self, web, charlie, name):
        text(web(charlie).post(LIST, {"do": "create_account", "of": "", "name": name}), 400)
        assert not Account.objects.filter(kind="ORGANISATION").exists()

    def test_it_escapes_a_name(self, web, charlie):
        services.create_account(name="<img src=x>", by=charlie)
        assert "<img src=x>" not in text(web(charlie).get(LIST))

    def test_it_asks_strangers_to_log_in(self, client):
        assert client.get(LIST)["Location"].startswith("/accounts/login/?next=")

    def test_its_queries_do_not_grow(self, web, charlie, django_assert_max_num_queries):
        for number in range(30):
            services.create_account(name=f"Club {number}", by=charlie)
        browser = web(charlie)
        with django_assert_max_num_queries(10):
            browser.get(LIST)

    @pytest.mark.parametrize("number", ["2", "0", "-1", "x", "99999999999999999999"])
    def test_any_page_number_leads_somewhere(self, web, charlie, number):
        text(web(charlie).get(LIST, {"page": number}))


class TestAccountPage:
    def test_it_shows_what_it_has_and_what_bounds_it(self, web, head, people, form):
        now = clock.now()
        services.fund(account=form.parent, to=form, asset="GPU", amount=10 * HOUR, by=head, key="k")
        services.set_cap(account=form, asset="GPU", period="week", limit=4 * HOUR, by=head, now=now)
        services.set_threshold(account=form, asset="USD", above=3 * USD, by=head)
        shown = text(web(people["viewer"]).get(url(form)))
        for words in ["10 GPU-hours", "0 GPU-hours of 4 GPU-hours this week", "above 3.00 USD", "<meter"]:
            assert words in shown
        for verb in ["fund", "reclaim", "set_cap", "remove_cap", "set_threshold", "set_pays_from", "rename"]:
            assert f'value="{verb}"' not in shown
        # Who sees the child alone is told nothing of what stands above.
        assert "School" not in shown

    def test_an_outsider_finds_nothing(self, web, people, form):
        assert web(people["outsider"]).get(url(form)).status_code == 404
        assert web(people["outsider"]).post(url(form), cap()).status_code == 404

    def test_the_child_s_owner_is_offered_no_limits(self, web, people, form):
        shown = text(web(people["owner"]).get(url(form)))
        assert 'value="rename"' in shown
        assert 'value="set_cap"' not in shown

    @pytest.mark.parametrize("role", ["viewer", "member", "manager", "owner", "school_viewer", "school_member"])
    @pytest.mark.parametrize("sent", [share(), share("reclaim"), cap(), {"do": "set_pays_from", "pays_from": "PARENT"}])
    def test_a_stale_form_is_refused_by_the_verb(self, web, people, form, role, sent):
        answer = web(people[role]).post(url(form), sent)
        if role in ("school_viewer", "school_member"):
            assert answer.status_code == 404
        else:
            assert "takes the role of" in text(answer, 403)
        assert not Transfer.objects.filter(kind="fund").exists()
        assert not CapRule.objects.exists()

    @pytest.mark.parametrize("role", ["viewer", "member"])
    def test_a_viewer_cannot_rename(self, web, people, form, role):
        text(web(people[role]).post(url(form), {"do": "rename", "name": "Mine"}), 403)

    def test_its_owner_renames_it(self, web, people, form):
        assert web(people["owner"]).post(url(form), {"do": "rename", "name": "Mine"}).status_code == 302
        assert Account.objects.get(pk=form.pk).name == "Mine"

    def test_it_wants_its_own_token(self, head, form):
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(head)
        assert strict.post(url(form), share()).status_code == 403

    @pytest.mark.parametrize("verb", ["", "x", "do_fund", "get_context_data"])
    def test_it_refuses_an_unknown_verb(self, web, head, form, verb):
        assert web(head).post(url(form), {"do": verb}).status_code == 400

    def test_its_queries_do_not_grow(self, web, head, form, django_assert_max_num_queries):
        for period in ("day", "week", "month", "total"):
            for asset in ("GPU", "USD"):
                services.set_cap(account=form, asset=asset, period=period, limit=1, by=head, now=clock.now())
        browser = web(head)
        with django_assert_max_num_queries(16):
            browser.get(url(form))

    def test_staff_see_it_and_put_limits_right_but_share_nothing(self, web, dana, form):
        shown = text(web(dana).get(url(form)))
        assert "as staff" in shown
        assert 'value="set_cap"' in shown
        assert 'value="fund"' not in shown
        assert web(dana).post(url(form), cap()).status_code == 302
        text(web(dana).post(url(form), share()), 403)

    def test_a_closed_one_offers_nothing(self, web, head, people, form):
        services.close_account(account=form, by=people["owner"], now=clock.now())
        shown = text(web(head).get(url(form)))
        assert "It was closed on" in shown
        assert 'name="do"' not in shown
        text(web(head).post(url(form), share()), 409)


class TestSharing:
    def test_hours_are_given_and_taken_back(self, web, head, school, form):
        assert web(head).post(url(form), share()).status_code == 302
        assert services.balances_of(form).hours_available == 2.5 * HOUR
        assert web(head).post(url(form), share("reclaim", "1", key="k2")).status_code == 302
        assert services.balances_of(form).hours_available == 1.5 * HOUR
        event = AuditEvent.objects.filter(action="account.fund").get()
        assert event.actor == head

    def test_money_too(self, web, head, form):
        web(head).post(url(form), share(asset="USD", amount="10"))
        assert services.balances_of(form).wallet_available == 10 * USD

    def test_sent_twice_it_moves_once(self, web, head, form):
        for _ in range(2):
            assert web(head).post(url(form), share()).status_code == 302
        assert services.balances_of(form).hours_available == 2.5 * HOUR

    def test_each_showing_has_a_key_of_its_own(self, web, head, form):
        keys = {web(head).get(url(form)).context["fund"]["key"].value() for _ in range(2)}
        assert len(keys) == 2

    def test_a_key_that_stands_for_another_is_refused_and_made_anew(self, web, head, form):
        web(head).post(url(form), share())
        answer = web(head).post(url(form), share(amount="3"))
        text(answer, 409)
        again = answer.context["fund"]
        assert again["amount"].value() == "3"
        assert again["key"].value() != "k1"

    def test_more_than_there_is_is_refused_beside_what_was_typed(self, web, head, form):
        shown = text(web(head).post(url(form), share(amount="101")), 400)
        assert 'role="alert"' in shown
        assert 'value="101"' in shown

    def test_more_than_was_given_is_not_taken_back(self, web, head, form):
        answer = web(head).post(url(form), share("reclaim", "1"))
        text(answer, 400)
        assert answer.context["reclaim"].errors["amount"]

    @pytest.mark.parametrize("amount", ["", "-1", "0", "1e3", "1,5", "0.0000001", "nan", "9" * 29, "1_0", "１"])
    def test_it_takes_exact_amounts_alone(self, web, head, form, amount):
        text(web(head).post(url(form), share(amount=amount)), 400)
        assert not Transfer.objects.filter(kind="fund").exists()

    def test_a_root_has_nobody_to_share_with_it(self, web, people, school):
        assert web(people["school_owner"]).post(url(school), share()).status_code == 400


class TestLimits:
    def test_a_cap_is_set_and_lifted(self, web, head, form):
        assert web(head).post(url(form), cap()).status_code == 302
        rule = CapRule.objects.get()
        assert (rule.limit, rule.period) == (5 * HOUR, "week")
        assert web(head).post(url(form), {"do": "remove_cap", "of": str(rule.pk)}).status_code == 302
        assert not CapRule.objects.exists()

    def test_a_cap_of_another_account_is_out_of_reach(self, web, head, school, form):
        other = Account.objects.create(name="Other", parent=school)
        rule = services.set_cap(account=other, asset="GPU", period="day", limit=1, by=head, now=clock.now())
        shown = text(web(head).post(url(form), {"do": "remove_cap", "of": str(rule.pk)}), 404)
        assert "gone by now" in shown
        assert CapRule.objects.exists()

    @pytest.mark.parametrize("of", ["", "x", "00000000-0000-0000-0000-000000000000"])
    def test_a_cap_that_is_gone_is_told(self, web, head, form, of):
        text(web(head).post(url(form), {"do": "remove_cap", "of": of}), 404)

    def test_nothing_at_all_may_be_the_limit(self, web, head, form):
        web(head).post(url(form), cap("0"))
        assert "0 GPU-hours of 0 GPU-hours" in text(web(head).get(url(form)))

    def test_a_root_has_no_cap(self, web, people, school):
        text(web(people["school_owner"]).post(url(school), cap()), 409)

    def test_a_threshold_is_set_and_removed(self, web, head, form):
        web(head).post(url(form), {"do": "set_threshold", "amount": "2", "asset": "GPU"})
        stored = ApprovalThreshold.objects.get()
        assert stored.above == 2 * HOUR
        web(head).post(url(form), {"do": "remove_threshold", "of": str(stored.pk)})
        assert not ApprovalThreshold.objects.exists()

    def test_the_parent_pays_when_told_so(self, web, head, form):
        assert web(head).post(url(form), {"do": "set_pays_from", "pays_from": "PARENT"}).status_code == 302
        assert "100 GPU-hours" in text(web(head).get(url(form)))
        assert 'value="fund"' not in text(web(head).get(url(form)))
        text(web(head).post(url(form), share()), 409)
