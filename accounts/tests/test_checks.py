from __future__ import annotations

import pytest

from accounts import checks


def ids(found):
    return [message.id for message in found]


def test_registration_is_one_of_its_modes(settings):
    for good in ("open", "invite", "domains", "closed"):
        settings.REGISTRATION = good
        assert checks.check_registration() == []
    settings.REGISTRATION = "opne"
    assert ids(checks.check_registration()) == ["accounts.E001"]


def test_domains_are_named_where_they_decide(settings):
    settings.REGISTRATION = "domains"
    settings.REGISTRATION_DOMAINS = ["example.test"]
    assert checks.check_registration_domains() == []
    settings.REGISTRATION_DOMAINS = []
    assert ids(checks.check_registration_domains()) == ["accounts.E004"]
    settings.REGISTRATION = "open"
    assert checks.check_registration_domains() == []


def test_google_has_an_id_and_a_secret_or_neither(settings):
    assert checks.check_google() == []
    settings.GOOGLE_CLIENT_ID = "x"
    assert ids(checks.check_google()) == ["accounts.E005"]
    settings.GOOGLE_CLIENT_SECRET = "y"
    assert checks.check_google() == []


def test_welcome_hours_are_a_plain_decimal(settings):
    for good in ("10", "0", "2.5"):
        settings.WELCOME_HOURS = good
        assert checks.check_welcome_hours() == []


@pytest.mark.parametrize("bad", ["ten", "-1", "1e3", "", "2000000"])
def test_other_welcome_hours_are_refused(settings, bad):
    settings.WELCOME_HOURS = bad
    assert ids(checks.check_welcome_hours()) == ["accounts.E002"]


def test_pbkdf2_comes_first(settings):
    assert checks.check_hashers() == []
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    assert ids(checks.check_hashers()) == ["accounts.E003"]
