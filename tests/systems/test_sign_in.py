"""People sign up, log in and look after their log-ins in a real browser, with mail from a real server."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from accounts.tests.openid_provider import CLIENT_ID, CLIENT_SECRET, Provider
from accounts.tests.second_factors import code_of
from tests.systems.browser import Visitor, visits
from tests.systems.house import ADMIN, Up
from tests.systems.people import Person
from tests.systems.post_office import PostOffice

PASSWORD = "a long and quiet passphrase"
NEW_PASSWORD = "another quiet and long passphrase"
# Pictures are left where this names a folder: to be looked at, not compared.
PICTURES = os.environ.get("SIGN_IN_PICTURES", "")
numbers = count(1)


@pytest.fixture(scope="module")
def post() -> Iterator[PostOffice]:
    with PostOffice() as office:
        yield office


@pytest.fixture(scope="module")
def google() -> Iterator[Provider]:
    with Provider() as provider:
        yield provider


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, post: PostOffice, google: Provider) -> Iterator[Up]:
    """A platform that people type as localhost, since security keys take no bare number for a name."""
    environment = {
        "EMAIL_URL": post.url,
        "GOOGLE_ISSUER": google.issuer,
        "GOOGLE_CLIENT_ID": CLIENT_ID,
        "GOOGLE_CLIENT_SECRET": CLIENT_SECRET,
        "THROTTLE_TOKEN": "1000/min",
        "THROTTLE_TOKEN_ADDRESS": "1000/min",
        "THROTTLE_RESET": "1000/min",
    }
    up = Up(tmp_path_factory.mktemp("sign-in"), environment, gpus=1)
    up.environment["BASE_URL"] = named(up)
    with up:
        yield up


def named(house: Up) -> str:
    return f"http://localhost:{house.port}"


@pytest.fixture
def visit(chromium: Browser, house: Up) -> Iterator[Callable[..., Visitor]]:
    yield from visits(chromium, named(house))


def picture(visitor: Visitor, name: str) -> None:
    """Take a page as a desk and as a phone show it; the phone's must not scroll sideways."""
    for width in (1280, 360):
        visitor.page.set_viewport_size({"width": width, "height": 800})
        assert visitor.page.evaluate("document.documentElement.scrollWidth") <= width, f"{name} at {width}"
        if PICTURES:
            visitor.page.screenshot(path=Path(PICTURES) / f"{name}-{width}.png", full_page=True)
    visitor.page.set_viewport_size({"width": 1280, "height": 800})


def newcomer(visitor: Visitor, post: PostOffice, *, has_pictures: bool = False) -> str:
    """Sign up by keyboard alone, follow the letter's link; gives the address."""
    address = f"person{next(numbers)}@example.org"
    visitor.open("/accounts/signup/")
    if has_pictures:
        picture(visitor, "sign-up")
    visitor.page.focus("[name=name]")
    for text in ("A Person", address, PASSWORD):
        visitor.page.keyboard.type(text)
        visitor.page.keyboard.press("Tab")
    with visitor.page.expect_navigation():
        visitor.page.keyboard.press("Enter")
    assert "Look into your mail" in visitor.text()
    if has_pictures:
        picture(visitor, "signed-up")
    visitor.page.goto(post.link(address, "/accounts/verify-email/?key="))
    if has_pictures:
        picture(visitor, "verify")
    visitor.press("main form.box button")
    assert f"{address} is confirmed" in visitor.text()
    return address


def log_in(visitor: Visitor, address: str, password: str = PASSWORD, *, to: str = "/") -> None:
    visitor.open(f"/accounts/login/?next={to}")
    visitor.page.fill("[name=username]", address)
    visitor.page.fill("[name=password]", password)
    visitor.press("main button")


def once_more(visitor: Visitor) -> None:
    """Give the password again where it is asked for."""
    if "/reauthenticate/" in visitor.page.url:
        visitor.page.fill("[name=password]", PASSWORD)
        visitor.press("main button")


class TestSignUp:
    def test_by_keyboard_through_mail_to_the_first_page(self, visit: Callable[..., Visitor], post: PostOffice) -> None:
        visitor = visit()
        address = newcomer(visitor, post, has_pictures=True)
        visitor.open("/accounts/login/")
        picture(visitor, "log-in")
        log_in(visitor, address)
        assert "Hello, A Person" in visitor.text()
        visitor.open("/accounts/")
        picture(visitor, "overview")
        visitor.press("header form button")
        assert "Hello" not in visitor.text()

    def test_who_reads_the_mail_takes_the_account_from_who_registered_the_address(
        self, visit: Callable[..., Visitor], post: PostOffice
    ) -> None:
        stranger, owner, address = visit(), visit(), f"person{next(numbers)}@example.org"
        stranger.open("/accounts/signup/")
        stranger.page.fill("[name=email]", address)
        stranger.page.fill("[name=password]", PASSWORD)
        stranger.press("main button")
        log_in(stranger, address)
        owner.page.goto(post.link(address, "/accounts/verify-email/?key="))
        picture(owner, "verify-elsewhere")
        owner.page.fill("[name=new_password]", NEW_PASSWORD)
        owner.press("main form.box button")
        assert f"{address} is confirmed" in owner.text()
        stranger.open("/accounts/")
        assert "/accounts/login/" in stranger.page.url
        log_in(owner, address, NEW_PASSWORD)
        assert "Hello" in owner.text()

    def test_what_is_wrong_is_said_where_it_is(self, visit: Callable[..., Visitor]) -> None:
        visitor = visit()
        visitor.open("/accounts/signup/")
        visitor.page.fill("[name=email]", "weak@example.org")
        visitor.page.fill("[name=password]", "password123")
        visitor.press("main button", expect=400)
        assert "too common" in visitor.page.inner_text("[role=alert]")
        picture(visitor, "sign-up-refused")
        visitor.open("/accounts/login/")
        visitor.page.fill("[name=username]", "nobody@example.org")
        visitor.page.fill("[name=password]", "wrong")
        visitor.press("main button", expect=400)
        assert "not correct" in visitor.page.inner_text("[role=alert]")
        picture(visitor, "log-in-refused")


class TestPassword:
    def test_a_lost_one_is_set_anew_by_mail(self, visit: Callable[..., Visitor], post: PostOffice, house: Up) -> None:
        visitor, elsewhere = visit(), visit()
        address = newcomer(visitor, post)
        log_in(elsewhere, address)
        program = Person(house.url, address, PASSWORD).log_in()
        visitor.open("/accounts/login/")
        visitor.press("text=Forgotten your password?")
        picture(visitor, "reset")
        visitor.page.fill("[name=email]", address)
        visitor.press("main button")
        visitor.page.goto(post.link(address, "/accounts/password/reset/confirm/"))
        picture(visitor, "reset-confirm")
        visitor.page.fill("[name=new_password]", f"{PASSWORD} anew")
        visitor.press("main button")
        assert "It is set" in visitor.text()
        program.refused(401, "GET", "users/me/")
        elsewhere.open("/accounts/")
        assert "/accounts/login/" in elsewhere.page.url
        log_in(visitor, address, f"{PASSWORD} anew")
        assert "Hello" in visitor.text()

    def test_it_is_changed(self, visit: Callable[..., Visitor], post: PostOffice) -> None:
        visitor = visit()
        address = newcomer(visitor, post)
        log_in(visitor, address, to="/accounts/password/change/")
        picture(visitor, "change")
        visitor.page.fill("[name=current_password]", PASSWORD)
        visitor.page.fill("[name=new_password]", f"{PASSWORD} anew")
        visitor.press("main button")
        assert "It is changed" in visitor.text()
        log_in(visitor, address, f"{PASSWORD} anew")
        assert "Hello" in visitor.text()


class TestSecondFactor:
    def test_an_app_and_recovery_codes(self, visit: Callable[..., Visitor], post: PostOffice, house: Up) -> None:
        visitor = visit()
        address = newcomer(visitor, post)
        log_in(visitor, address, to="/accounts/2fa/")
        picture(visitor, "second-factor-none")
        visitor.press("a:has-text('Set up an app')")
        picture(visitor, "once-more")
        once_more(visitor)
        picture(visitor, "app")
        secret = visitor.page.input_value("#secret")
        visitor.page.fill("[name=code]", code_of(secret))
        visitor.press("main form.box button")
        codes = visitor.page.inner_text("main pre").split()
        assert len(codes) == 10
        picture(visitor, "recovery-codes")
        visitor.open("/accounts/2fa/")
        picture(visitor, "second-factor")
        post.link(address, "/accounts/2fa/")

        visitor.press("header form button")
        log_in(visitor, address)
        picture(visitor, "second-factor-asked")
        visitor.page.fill("[name=code]", codes[0])
        visitor.press("main form.box button")
        assert "Hello" in visitor.text()

        person = Person(house.url, address, PASSWORD)
        body = {"email": address, "password": PASSWORD}
        assert person.refused(401, "POST", "auth/token/", json=body)["code"] == "otp_required"
        assert person.refused(401, "POST", "auth/token/", json={**body, "otp": "000000"})["code"] == "otp_invalid"
        assert person.call("POST", "auth/token/", json={**body, "otp": codes[1]})["access"]

        visitor.open("/accounts/2fa/totp/deactivate/")
        once_more(visitor)
        picture(visitor, "app-off")
        visitor.press("main form.box button")
        assert "None yet" in visitor.text()

    def test_a_security_key(self, visit: Callable[..., Visitor], post: PostOffice) -> None:
        visitor = visit()
        devtools = visitor.context.new_cdp_session(visitor.page)
        devtools.send("WebAuthn.enable")
        options = {"protocol": "ctap2", "transport": "usb", "hasResidentKey": False, "hasUserVerification": True}
        devtools.send(
            "WebAuthn.addVirtualAuthenticator",
            {"options": {**options, "isUserVerified": True, "automaticPresenceSimulation": True}},
        )
        address = newcomer(visitor, post)
        log_in(visitor, address, to="/accounts/2fa/webauthn/add/")
        once_more(visitor)
        picture(visitor, "key-add")
        visitor.page.fill("[name=name]", "My key")
        visitor.press("main form.box button")
        assert len(visitor.page.inner_text("main pre").split()) == 10
        visitor.open("/accounts/2fa/webauthn/")
        assert "My key" in visitor.text()
        picture(visitor, "keys")

        visitor.press("header form button")
        log_in(visitor, address)
        picture(visitor, "key-asked")
        visitor.press("text=Use my security key")
        assert "Hello" in visitor.text()

        visitor.open("/accounts/2fa/webauthn/")
        visitor.press("text=Rename")
        once_more(visitor)
        picture(visitor, "key-rename")
        visitor.page.fill("[name=name]", "Desk key")
        visitor.press("main form.box button")
        assert "Desk key" in visitor.text()
        visitor.press("text=Take it off")
        picture(visitor, "key-off")
        visitor.press("main form.box button")
        assert "None." in visitor.text()


class TestLogIns:
    def test_a_browser_and_a_program_are_logged_out_from_here(
        self, visit: Callable[..., Visitor], post: PostOffice, house: Up
    ) -> None:
        visitor, elsewhere = visit(), visit(user_agent="The other browser")
        address = newcomer(visitor, post)
        log_in(elsewhere, address)
        program = Person(house.url, address, PASSWORD).log_in()
        log_in(visitor, address, to="/accounts/sessions/")
        picture(visitor, "sessions")
        visitor.press("li:has-text('The other browser') button")
        elsewhere.open("/accounts/")
        assert "/accounts/login/" in elsewhere.page.url
        program.call("GET", "users/me/")
        visitor.press("text=Log out all others")
        program.refused(401, "GET", "users/me/")
        assert "There are no others" in visitor.text()

    def test_who_guesses_is_locked_out_and_staff_unlock(
        self, visit: Callable[..., Visitor], post: PostOffice, house: Up
    ) -> None:
        visitor, admin = visit(), visit()
        address = newcomer(visitor, post)
        visitor.open("/accounts/login/")
        for number in range(6):
            visitor.page.fill("[name=username]", address)
            visitor.page.fill("[name=password]", "wrong")
            visitor.press("main button", expect=429 if number == 5 else 400)
        assert "Too many wrong log-ins" in visitor.page.inner_text("[role=alert]")
        picture(visitor, "locked-out")
        log_in(admin, ADMIN, house.password, to="/admin/axes/accessattempt/")
        admin.press(f"a:has-text('{address}')")
        admin.press("text=Unlock")
        admin.press("main button:has-text('Unlock'), #content button[type=submit]")
        log_in(visitor, address)
        assert "Hello" in visitor.text()


class TestGoogle:
    def test_it_signs_up_logs_in_and_shows_the_connection(
        self, visit: Callable[..., Visitor], google: Provider
    ) -> None:
        google.person = {"sub": "77", "email": "gina@example.org", "email_verified": True, "name": "Gina"}
        visitor = visit()
        visitor.open("/accounts/login/")
        visitor.press("text=Log in with Google")
        assert "Hello, Gina" in visitor.text()
        visitor.open("/accounts/connections/")
        assert "gina@example.org" in visitor.text()
        picture(visitor, "connections")
        # The way there is the one request that leaves the house.
        assert [one for one in visitor.problems if google.issuer not in one] == []
        visitor.problems.clear()

    def test_connecting_it_asks_for_the_password_again(
        self, visit: Callable[..., Visitor], google: Provider, post: PostOffice
    ) -> None:
        google.person = {"sub": "78", "email": "hanna@gmail.test", "email_verified": True, "name": "Hanna"}
        visitor = visit()
        address = newcomer(visitor, post)
        log_in(visitor, address, to="/accounts/connections/")
        visitor.press("text=Connect Google")
        assert "/reauthenticate/" in visitor.page.url
        assert "press Connect Google again" in visitor.text()
        once_more(visitor)
        visitor.press("text=Connect Google")
        assert "It is connected." in visitor.text()
        assert "hanna@gmail.test" in visitor.text()
        visitor.problems.clear()
