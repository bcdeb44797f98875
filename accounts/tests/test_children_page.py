from __future__ import annotations

import pytest
from django.test import Client

from accounts import services
from accounts.models import Account, CapRule
from accounts.tests.conftest import HOUR
from gaas.lib import clock

pytestmark = pytest.mark.django_db


@pytest.fixture
def web(client):
    def as_user(user):
        client.force_login(user)
        return client

    return as_user


def url(account):
    return f"/accounts/{account.pk}/children/"


def text(answer, status=200):
    assert answer.status_code == status, answer.content.decode()[-2000:]
    return answer.content.decode()


def create(name="Kim", pays_from="SELF"):
    return {"do": "create_child", "of": "", "name": name, "pays_from": pays_from}


class TestChildrenPage:
    def test_it_shows_what_each_has_and_how_far_it_is_used(self, web, head, school, form):
        services.fund(account=school, to=form, asset="GPU", amount=10 * HOUR, by=head, key="k")
        services.set_cap(account=form, asset="GPU", period="day", limit=HOUR, by=head, now=clock.now())
        shown = text(web(head).get(url(school)))
        assert f'href="/accounts/{form.pk}/"' in shown
        assert "10 GPU-hours" in shown
        assert "0 GPU-hours of 1 GPU-hours today" in shown

    def test_it_says_what_a_child_is_for_where_there_is_none(self, web, people, form):
        shown = text(web(people["manager"]).get(url(form)))
        assert "Make the first" in shown
        assert 'value="create_child"' in shown

    def test_an_outsider_finds_nothing(self, web, people, form):
        assert web(people["outsider"]).get(url(form)).status_code == 404
        assert web(people["outsider"]).post(url(form), create()).status_code == 404

    @pytest.mark.parametrize("role", ["school_viewer", "school_member"])
    def test_a_viewer_sees_and_makes_none(self, web, people, school, form, role):
        browser = web(people[role])
        shown = text(browser.get(url(school)))
        assert "Form" not in shown.partition("<h1>")[2]
        assert "create_child" not in shown
        text(browser.post(url(school), create()), 403)
        assert not Account.objects.filter(name="Kim").exists()

    def test_it_makes_one_and_leads_to_it(self, web, head, school):
        answer = web(head).post(url(school), create(pays_from="PARENT"))
        made = Account.objects.get(name="Kim")
        assert answer["Location"] == f"/accounts/{made.pk}/"
        assert (made.parent_id, made.pays_from) == (school.pk, "PARENT")
        assert "invite its members" in text(web(head).get(answer["Location"]))

    @pytest.mark.parametrize("sent", [create(""), create("x" * 151), create(pays_from="ME"), {"do": "create_child"}])
    def test_it_refuses_what_is_no_child(self, web, head, school, sent):
        text(web(head).post(url(school), sent), 400)
        assert school.children.count() == 1 or not school.children.exists()

    def test_a_ninth_level_is_refused(self, web, head, school):
        lowest = school
        for number in range(7):
            lowest = Account.objects.create(name=str(number), parent=lowest)
        assert "at most 8 levels" in text(web(head).post(url(lowest), create()), 400)

    def test_it_wants_its_own_token(self, head, school):
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(head)
        assert strict.post(url(school), create()).status_code == 403

    def test_its_queries_do_not_grow(self, web, head, school, django_assert_max_num_queries):
        for number in range(30):
            child = Account.objects.create(name=f"Child {number:02}", parent=school)
            CapRule.objects.create(account=child, asset="GPU", period="day", limit=HOUR)
        browser = web(head)
        with django_assert_max_num_queries(18):  # two of them ask PostgreSQL what time it is
            shown = text(browser.get(url(school)))
        assert "Page 1 of 2" in shown
        assert "Child 29" in text(browser.get(url(school), {"page": 2}))
