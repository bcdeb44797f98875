from __future__ import annotations

import pytest

from accounts import checks


def ids(found):
    return [message.id for message in found]


def test_registration_is_open_or_closed(settings):
    for good in ("open", "closed"):
        settings.REGISTRATION = good
        assert checks.check_registration() == []
    settings.REGISTRATION = "opne"
    assert ids(checks.check_registration()) == ["accounts.E001"]


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
