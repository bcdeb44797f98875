from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework_simplejwt.tokens import RefreshToken

from accounts.models import TokenFamily, User
from accounts.services.tokens import LogInRefused, open_log_in, refresh_log_in

URL = "/api/v1/auth/token/refresh/"


def later(seconds):
    """Let the last rotation be some seconds ago."""
    TokenFamily.objects.update(rotated_at=timezone.now() - timedelta(seconds=seconds))


@pytest.mark.django_db
class TestRefresh:
    def test_it_gives_a_new_pair_of_the_same_log_in(self, api, alice):
        pair = open_log_in(user=alice)
        answer = api().post(URL, {"refresh": pair.refresh}, format="json")
        assert answer.status_code == 200
        new = answer.json()
        assert new["refresh"] != pair.refresh
        assert RefreshToken(new["refresh"])["sid"] == RefreshToken(pair.refresh)["sid"]
        assert api().post(URL, {"refresh": new["refresh"]}, format="json").status_code == 200

    def test_the_loser_of_a_moment_ago_is_only_refused(self, api, alice):
        pair = open_log_in(user=alice)
        new = api().post(URL, {"refresh": pair.refresh}, format="json").json()
        assert api().post(URL, {"refresh": pair.refresh}, format="json").status_code == 401
        assert api().post(URL, {"refresh": new["refresh"]}, format="json").status_code == 200

    def test_reuse_later_ends_the_family(self, api, alice):
        pair = open_log_in(user=alice)
        new = api().post(URL, {"refresh": pair.refresh}, format="json").json()
        later(11)
        client = api()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {new['access']}")
        assert client.get("/api/v1/users/me/").status_code == 200
        assert api().post(URL, {"refresh": pair.refresh}, format="json").status_code == 401
        assert api().post(URL, {"refresh": new["refresh"]}, format="json").status_code == 401
        assert client.get("/api/v1/users/me/").status_code == 401

    def test_reuse_of_one_older_still_ends_the_family_at_once(self, api, alice):
        first = open_log_in(user=alice)
        second = refresh_log_in(token=first.refresh)
        third = refresh_log_in(token=second.refresh)
        assert api().post(URL, {"refresh": first.refresh}, format="json").status_code == 401
        assert api().post(URL, {"refresh": third.refresh}, format="json").status_code == 401

    def test_another_log_in_of_the_user_goes_on(self, alice):
        stolen, other = open_log_in(user=alice), open_log_in(user=alice)
        refresh_log_in(token=stolen.refresh)
        later(11)
        with pytest.raises(LogInRefused):
            refresh_log_in(token=stolen.refresh)
        assert refresh_log_in(token=other.refresh)

    def test_a_changed_password_ends_it(self, api, alice):
        pair = open_log_in(user=alice)
        alice.set_password("another long passphrase")
        alice.save()
        assert api().post(URL, {"refresh": pair.refresh}, format="json").status_code == 401

    def test_a_switched_off_or_vanished_user_is_refused(self, api, alice):
        pair = open_log_in(user=alice)
        User.objects.filter(pk=alice.pk).update(is_active=False)
        assert api().post(URL, {"refresh": pair.refresh}, format="json").status_code == 401
        TokenFamily.objects.all().delete()
        assert api().post(URL, {"refresh": pair.refresh}, format="json").status_code == 401

    def test_an_access_token_is_no_refresh_token(self, api, alice):
        assert api().post(URL, {"refresh": open_log_in(user=alice).access}, format="json").status_code == 401

    @pytest.mark.parametrize("body", [{}, {"refresh": None}, {"refresh": 1}, {"refresh": "x" * 5000}, {"other": "x"}])
    def test_it_refuses_bad_bodies(self, api, body):
        assert api().post(URL, body, format="json").status_code == 400

    @pytest.mark.parametrize("token", ["x", "a.b.c", "ü.ü.ü"])
    def test_it_refuses_garbage(self, api, token):
        assert api().post(URL, {"refresh": token}, format="json").status_code == 401


@pytest.mark.django_db
def test_the_winner_is_chosen_by_a_plain_update(alice):
    pair = open_log_in(user=alice)
    with CaptureQueriesContext(connection) as queries:
        refresh_log_in(token=pair.refresh)
    [update] = [query["sql"] for query in queries if query["sql"].startswith("UPDATE")]
    assert "SELECT" not in update


@pytest.mark.django_db(transaction=True)
def test_of_twelve_parallel_refreshes_one_wins(alice):
    if connection.vendor != "postgresql":
        pytest.skip("threads with connections of their own want PostgreSQL")
    for _ in range(20):
        pair = open_log_in(user=alice)
        start = threading.Barrier(12)
        won, lost = [], []

        def refresh(pair=pair, start=start, won=won, lost=lost):
            try:
                start.wait()
                won.append(refresh_log_in(token=pair.refresh))
            except LogInRefused:
                lost.append(1)
            finally:
                connections.close_all()

        threads = [threading.Thread(target=refresh) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(won), len(lost)) == (1, 11)
        # The family lives on for the winner.
        assert refresh_log_in(token=won[0].refresh)
