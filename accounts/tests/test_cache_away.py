"""Without the shared cache guesses cannot be counted, so none is looked at."""

from __future__ import annotations

import pytest

from gaas.tests.cast import PASSWORD

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _away(_fresh_cache, settings):
    settings.CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://127.0.0.1:1/0"}
    }


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("token", {"email": "alice@example.test", "password": PASSWORD}),
        ("register", {"email": "new@example.test", "password": PASSWORD}),
        ("password/reset", {"email": "alice@example.test"}),
        ("google", {"id_token": "x.y.z"}),
    ],
)
def test_the_api_answers_503(api, alice, path, body):
    answer = api().post(f"/api/v1/auth/{path}/", body, format="json")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (503, "cannot_count")
    assert int(answer["Retry-After"]) > 0


@pytest.mark.parametrize("path", ["login", "signup", "password/reset"])
def test_pages_answer_503(client, alice, path):
    form = {"username": alice.email, "email": alice.email, "password": PASSWORD}
    answer = client.post(f"/accounts/{path}/", form)
    assert answer.status_code == 503
    assert int(answer["Retry-After"]) > 0
    assert client.get("/accounts/").status_code == 302


def test_who_is_logged_in_goes_on(api, alice):
    assert api(alice).get("/api/v1/users/me/").status_code == 200
