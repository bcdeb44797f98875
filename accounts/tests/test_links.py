"""Putting an account below one that somebody else manages takes the word of both."""

from __future__ import annotations

from functools import partial

import pytest

from accounts import services
from accounts.choices import MAX_DEPTH, PaysFrom, Role
from accounts.ledger import services as ledger
from accounts.ledger.tests.conftest import race
from accounts.models import Account, Invitation, Membership, User
from accounts.services.authority import AccountMoved
from accounts.services.members import BadInvitation
from accounts.tests.conftest import HOUR, USD
from accounts.tests.test_members import ACCEPT, code_of, token_for
from gaas.audit.models import AuditEvent
from gaas.lib import clock
from gaas.lib.errors import NotAllowed
from gaas.tests.cast import make_user

LINK = "/api/v1/invitations/link/"


@pytest.fixture
def kim(charlie, verify):
    """Who has an account with welcome hours, and belongs to nothing else."""
    return verify(charlie)


@pytest.fixture
def own(kim):
    return kim.personal_account


@pytest.fixture
def ask(api, head, school):
    def send(email="charlie@example.test", by=head, to=school, **more):
        return api(by).post(f"/api/v1/accounts/{to.pk}/children/invite/", {"email": email, **more}, format="json")

    return send


@pytest.fixture
def accept(api, kim, own):
    def send(account=own, by=kim, token="", **more):
        body = {"token": token or token_for(), "account": str(account.pk), **more}
        return api(by).post(LINK, body, format="json")

    return send


@pytest.fixture
def linked(ask, accept, own):
    assert ask().status_code == 201
    assert accept().status_code == 200
    own.refresh_from_db()
    return own


@pytest.mark.django_db
class TestInviteChild:
    def test_a_letter_asks_and_tells_nothing_of_its_reader(self, ask):
        known, unknown = ask().json(), ask(email="nobody@example.test").json()
        assert set(known) == set(unknown)
        assert (known["kind"], known["role"], known["pays_from"]) == ("CHILD", None, "SELF")
        assert "token" not in known

    @pytest.mark.parametrize("who", ["school_viewer", "school_member", "owner"])
    def test_it_takes_a_manager(self, ask, people, who):
        assert ask(by=people[who]).status_code == (404 if who == "owner" else 403)
        assert not Invitation.objects.exists()

    def test_it_takes_a_confirmed_address(self, ask, head):
        User.objects.filter(pk=head.pk).update(email_verified_at=None)
        head.refresh_from_db()
        answer = ask()
        assert (answer.status_code, code_of(answer)) == (403, "email_not_verified")

    @pytest.mark.parametrize("body", [{"email": "x"}, {"pays_from": "ME"}, {"role": "OWNER"}, {"email": ["a@b.test"]}])
    def test_bad_input_is_refused(self, ask, body):
        assert ask(**body).status_code == 400

    def test_a_new_letter_ends_the_one_before(self, ask, accept):
        ask()
        first = token_for()
        ask(pays_from="PARENT")
        assert code_of(accept(token=first)) == "invalid_invitation"
        assert accept().status_code == 200

    def test_it_stands_beside_an_invitation_of_a_member(self, ask, head, school):
        services.invite(account=school, email="charlie@example.test", role=Role.MEMBER, by=head, now=clock.now())
        ask()
        assert Invitation.objects.open().count() == 2

    def test_a_closed_account_asks_nobody(self, ask, school):
        Account.objects.filter(pk=school.pk).update(closed_at=clock.now())
        assert code_of(ask()) == "account_closed"


@pytest.mark.django_db
class TestAcceptLink:
    def test_it_stands_below_and_keeps_what_it_has(self, ask, accept, own, school, kim, sound_books):
        before = services.balances_of(own)
        ask()
        answer = accept()
        assert answer.status_code == 200, answer.content
        assert (answer.json()["parent"], answer.json()["pays_from"]) == (str(school.pk), "SELF")
        own.refresh_from_db()
        assert own.path == f"{school.path}{own.pk}/"
        assert services.balances_of(own) == before
        assert before.hours_available == 10 * HOUR
        assert own.role_of(kim) == Role.OWNER
        event = AuditEvent.objects.get(action="account.link")
        assert (event.after["parent"], event.actor_id) == (str(school.pk), kim.pk)

    def test_an_organisation_goes_there_too(self, ask, accept, kim, school):
        club = services.create_account(name="Club", by=kim)
        ask()
        assert accept(account=club).json()["parent"] == str(school.pk)

    def test_a_letter_is_used_once(self, ask, accept, own, kim):
        ask()
        accept()
        club = services.create_account(name="Club", by=kim)
        assert code_of(accept(account=club)) == "invalid_invitation"

    def test_another_cannot_use_it(self, ask, accept, alice, verify):
        ask()
        answer = accept(account=alice.personal_account, by=verify(alice))
        assert (answer.status_code, code_of(answer)) == (403, "invitation_for_another")

    def test_who_has_not_confirmed_their_address_cannot(self, ask, accept, kim, own):
        ask()
        User.objects.filter(pk=kim.pk).update(email_verified_at=None)
        kim.refresh_from_db()
        assert code_of(accept()) == "email_not_verified"
        assert Account.objects.get(pk=own.pk).parent_id is None

    def test_only_an_account_that_one_owns_itself(self, ask, accept, lab, kim, form, people):
        ask()
        assert (accept(account=lab).status_code, code_of(accept(account=lab))) == (404, "not_found")
        Membership.objects.create(account=lab, user=kim, role=Role.MANAGER)
        assert accept(account=lab).status_code == 403
        assert Invitation.objects.open().count() == 1

    def test_owning_from_above_is_not_enough(self, ask, accept, kim):
        club = services.create_account(name="Club", by=kim)
        below = services.create_child(parent=club, name="Team", by=kim)
        ask()
        assert accept(account=below).status_code == 403

    @pytest.mark.parametrize("body", [{"account": "x"}, {"token": ""}, {"pays_from": "x"}, {"parent": "x"}])
    def test_bad_input_is_refused(self, ask, accept, api, kim, own, body):
        ask()
        sent = {"token": token_for(), "account": str(own.pk), **body}
        assert api(kim).post(LINK, sent, format="json").status_code == 400

    def test_the_two_kinds_of_letters_are_not_each_other(self, ask, accept, api, kim, head, school):
        ask()
        assert code_of(api(kim).post(ACCEPT, {"token": token_for()}, format="json")) == "invalid_invitation"
        services.invite(account=school, email=kim.email, role=Role.MEMBER, by=head, now=clock.now())
        assert code_of(accept()) == "invalid_invitation"

    def test_the_writer_must_still_manage(self, ask, accept, head, school, own):
        ask()
        Membership.objects.filter(user=head, account=school).update(role=Role.MEMBER)
        assert code_of(accept()) == "invalid_invitation"
        assert Account.objects.get(pk=own.pk).parent_id is None

    def test_with_open_holds_it_stays(self, ask, accept, own):
        held = ledger.hold(
            balance=services.hours_balance(own), amount=HOUR, key="h", purpose="task", spender=own.owner_key
        )
        ask()
        answer = accept()
        assert (answer.status_code, code_of(answer)) == (409, "open_holds")
        ledger.release(hold_id=held.pk)
        assert accept().status_code == 200

    def test_a_ring_and_a_ninth_level_are_refused(self, ask, accept, kim, head, api, verify):
        club = services.create_account(name="Club", by=kim)
        below = services.create_child(parent=club, name="Team", by=kim)
        ask(by=kim, to=below)
        assert code_of(accept(account=club)) == "cycle"
        for number in range(MAX_DEPTH - below.depth):
            below = Account.objects.create(name=str(number), parent=below)
        ask(by=kim, to=below)
        assert code_of(accept()) == "too_deep"

    def test_the_parent_pays_where_both_say_so(self, ask, accept):
        ask()
        answer = accept(pays_from="PARENT")
        assert (answer.status_code, code_of(answer)) == (400, "not_offered")
        ask(pays_from="PARENT")
        assert accept(pays_from="PARENT").json()["pays_from"] == "PARENT"

    def test_an_offer_may_be_left(self, ask, accept):
        ask(pays_from="PARENT")
        assert accept().json()["pays_from"] == "SELF"

    def test_a_closed_parent_takes_none(self, ask, accept, school):
        ask()
        token = token_for()
        Account.objects.filter(pk=school.pk).update(closed_at=clock.now())
        assert accept(token=token).status_code == 409

    def test_a_withdrawn_letter_is_worth_nothing(self, ask, accept, api, head, school):
        made = ask().json()["id"]
        assert api(head).delete(f"/api/v1/accounts/{school.pk}/invitations/{made}/").status_code == 204
        assert code_of(accept()) == "invalid_invitation"


@pytest.mark.django_db
class TestLinked:
    def test_its_owner_unlinks_it(self, api, kim, linked, school, sound_books):
        answer = api(kim).patch(f"/api/v1/accounts/{linked.pk}/", {"parent": None}, format="json")
        assert (answer.status_code, answer.json()["parent"]) == (200, None)

    def test_not_with_open_holds(self, api, kim, linked):
        ledger.hold(
            balance=services.hours_balance(linked), amount=HOUR, key="h", purpose="task", spender=linked.owner_key
        )
        answer = api(kim).patch(f"/api/v1/accounts/{linked.pk}/", {"parent": None}, format="json")
        assert code_of(answer) == "open_holds"

    def test_who_owns_the_parent_lets_it_go_and_moves_it_nowhere(self, api, people, linked, form):
        url, owner = f"/api/v1/accounts/{linked.pk}/", people["school_owner"]
        Membership.objects.create(account=form, user=owner, role=Role.OWNER)
        assert api(people["school_manager"]).patch(url, {"parent": None}, format="json").status_code == 403
        assert api(owner).patch(url, {"parent": str(form.pk)}, format="json").status_code == 403
        assert api(owner).patch(url, {"parent": None}, format="json").status_code == 200

    def test_the_parent_caps_it_and_funds_it(self, api, head, linked, school):
        client = api(head)
        capped = client.post(f"/api/v1/accounts/{linked.pk}/caps/", {"period": "day", "hours": "1"}, format="json")
        assert capped.status_code == 201
        body = {"to": str(linked.pk), "hours": "2"}
        funded = client.post(
            f"/api/v1/accounts/{school.pk}/fund/", body, format="json", headers={"Idempotency-Key": "1"}
        )
        assert funded.status_code == 201
        assert services.reclaimable_of_each(account=school, children=[linked])[linked.pk].gpu_ms == 2 * HOUR

    @pytest.mark.parametrize("who", ["school_manager", "school_owner"])
    def test_nobody_above_spends_what_is_its_own(self, api, people, linked, who, settings):
        settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "DEFAULT_THROTTLE_CLASSES": []}
        client, user, url = api(people[who]), people[who], f"/api/v1/accounts/{linked.pk}"
        assert linked.role_of(user) == Role.MANAGER
        assert linked not in Account.objects.spendable_by(user)
        assert linked in Account.objects.managed_by(user)
        task = {"title": "x", "spec": {"command": ["true"]}, "hours": "1", "account": str(linked.pk)}
        assert client.post("/api/v1/tasks/quote/", task, format="json").status_code == 403
        assert client.post("/api/v1/tasks/", task, format="json").status_code == 403
        below = client.post(f"{url}/children/", {"name": "Purse"}, format="json").json()["id"]
        body, once = {"to": below, "hours": "1"}, {"Idempotency-Key": "1"}
        assert client.post(f"{url}/fund/", body, format="json", headers=once).status_code == 403
        assert client.post(f"{url}/members/", {"email": "new@example.test"}, format="json").status_code == 403
        assert client.patch(url + "/", {"pays_from": "PARENT"}, format="json").status_code == 403
        assert services.balances_of(linked).hours_available == 10 * HOUR

    def test_an_owner_above_is_no_owner_of_a_person_s_purse(self, people, linked):
        owner = people["school_owner"]
        mine = services.create_account(name="Mine", by=owner)
        with pytest.raises(NotAllowed):
            services.move_account(account=linked, parent=mine, by=owner)

    def test_each_side_ends_paying_and_both_begin_it(self, api, kim, head, linked):
        url = f"/api/v1/accounts/{linked.pk}/"

        def say(by, who):
            return api(by).patch(url, {"pays_from": who}, format="json").status_code

        assert (say(kim, "PARENT"), say(head, "PARENT")) == (403, 403)
        for by in (kim, head):
            Account.objects.filter(pk=linked.pk).update(pays_from=PaysFrom.PARENT)
            assert say(by, "SELF") == 200

    def test_closing_it_is_its_owners_too(self, ask, accept, kim, people, api):
        club = services.create_account(name="Club", by=kim)
        services.grant_hours(account=club, gpu_ms=HOUR, by=None, reason="Own", key="own")
        ask()
        accept(account=club)
        closed = api(people["school_owner"]).post(f"/api/v1/accounts/{club.pk}/close/", {}, format="json")
        assert closed.status_code == 403
        assert services.balances_of(club).hours_available == HOUR
        assert api(kim).post(f"/api/v1/accounts/{club.pk}/close/", {}, format="json").status_code == 200

    def test_an_organisation_is_not_moved_on_without_its_owners(self, ask, accept, kim, people, api):
        club = services.create_account(name="Club", by=kim)
        ask()
        accept(account=club)
        owner = people["school_owner"]
        mine = services.create_account(name="Mine", by=owner)
        answer = api(owner).patch(f"/api/v1/accounts/{club.pk}/", {"parent": str(mine.pk)}, format="json")
        assert answer.status_code == 403
        assert (
            api(people["school_manager"])
            .patch(f"/api/v1/accounts/{club.pk}/", {"pays_from": "PARENT"}, format="json")
            .status_code
            == 403
        )


@pytest.mark.django_db
class TestReclaimable:
    def test_it_is_what_reclaim_takes(self, school, form, people):
        other = Account.objects.create(name="Other", parent=school)
        head = people["school_manager"]
        for number, (to, asset, amount) in enumerate(
            [(form, "GPU", 5 * HOUR), (form, "USD", 3 * USD), (other, "GPU", HOUR)]
        ):
            services.fund(account=school, to=to, asset=asset, amount=amount, by=head, key=str(number))
        services.reclaim(account=school, source=form, asset="GPU", amount=HOUR, by=head, key="back")
        ledger.hold(
            balance=services.hours_balance(form), amount=3 * HOUR, key="h", purpose="task", spender=form.owner_key
        )
        shown = services.reclaimable_of_each(account=school, children=[form, other])
        assert (shown[form.pk].gpu_ms, shown[form.pk].micro) == (HOUR, 3 * USD)
        assert (shown[other.pk].gpu_ms, shown[other.pk].micro) == (HOUR, 0)
        services.reclaim(account=school, source=form, asset="GPU", amount=HOUR, by=head, key="rest")
        with pytest.raises(services.MoreThanGiven):
            services.reclaim(account=school, source=form, asset="GPU", amount=1, by=head, key="more")

    def test_what_it_has_of_its_own_is_not_in_it(self, linked, school):
        assert services.reclaimable_of_each(account=school, children=[linked])[linked.pk].gpu_ms == 0

    def test_two_queries_whatever_the_number(self, school, django_assert_num_queries):
        few = [Account.objects.create(name=str(number), parent=school) for number in range(20)]
        with django_assert_num_queries(2):
            services.reclaimable_of_each(account=school, children=few)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("postgresql")
class TestRaces:
    def test_eight_take_one_letter_once(self, school, people, charlie, verify):
        kim = verify(charlie)
        clubs = [services.create_account(name=str(number), by=kim) for number in range(8)]
        services.invite_child(account=school, email=kim.email, by=people["school_manager"], now=clock.now())
        calls = [
            partial(services.accept_link, token=token_for(), account=club, by=kim, now=clock.now()) for club in clubs
        ]
        outcomes = race(*calls)
        assert sum(isinstance(outcome, Account) for outcome in outcomes) == 1
        assert all(isinstance(outcome, (Account, BadInvitation)) for outcome in outcomes), outcomes
        assert school.children.filter(pk__in=[club.pk for club in clubs]).count() == 1

    def test_two_letters_cannot_make_a_ring(self, verify):
        one, two = (verify(make_user(name)) for name in ("one", "two"))
        for turn in range(5):
            a, b = (services.create_account(name=f"{turn}", by=user) for user in (one, two))
            services.invite_child(account=a, email=two.email, by=one, now=clock.now())
            services.invite_child(account=b, email=one.email, by=two, now=clock.now())
            outcomes = race(
                partial(services.accept_link, token=token_for(two.email), account=b, by=two, now=clock.now()),
                partial(services.accept_link, token=token_for(one.email), account=a, by=one, now=clock.now()),
            )
            assert sum(isinstance(outcome, Account) for outcome in outcomes) == 1, outcomes
            refused = next(outcome for outcome in outcomes if not isinstance(outcome, Account))
            assert isinstance(refused, AccountMoved) or refused.code == "cycle"
