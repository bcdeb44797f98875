"""A stream lasts no longer than the right to see its task."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from django.conf import LazySettings

from accounts.choices import Role
from accounts.models import ApiKey, Membership
from accounts.services.keys import create_key, rotate_key
from gaas.lib import clock, tickets
from gaas.streams import Streams
from gaas.tests.test_streams import Watcher, address, doing, live
from tasks.services import watch
from tasks.tests.rig import a_task, an_approved_task

pytestmark = pytest.mark.django_db(transaction=True)


class TestRights:
    def test_a_stream_ends_with_the_membership(self, alice: Any, bob: Any, dana: Any, settings: LazySettings) -> None:
        settings.STREAM_RIGHT_SECONDS, task = 0.05, an_approved_task(alice, dana)
        membership = Membership.objects.create(account=task.account, user=bob, role=Role.VIEWER)

        async def scene(streams: Streams) -> tuple[Watcher, Watcher, int]:
            stays, leaves = Watcher(streams, address(task)), Watcher(streams, address(task, user=bob))
            for watcher in (stays, leaves):
                await watcher.sees(lambda w: w.text)
            await asyncio.sleep(0.2)
            assert not leaves.done.done()
            await doing(membership.delete)
            await leaves.end()
            assert not stays.done.done()
            return stays, leaves, (await Watcher(streams, address(task, user=bob)).end()).status

        stays, leaves, again = live(scene)
        assert (stays.status, leaves.status, again) == (200, 200, 404)
        assert "end" not in {kind for kind, _, _ in leaves.events()}

    def test_all_are_asked_for_together(self, alice: Any, bob: Any, django_assert_num_queries: Any) -> None:
        Membership.objects.create(account=alice.personal_account, user=bob, role=Role.VIEWER)
        some = [a_task(alice).pk for _ in range(3)]
        pairs = [(one, user.pk, None) for one in some for user in (alice, bob)]
        with django_assert_num_queries(7):  # the people, and for each the permissions by two, and the tasks
            assert watch.seen_still([*pairs, (uuid4(), alice.pk, None), (some[0], uuid4(), None)]) == set(pairs)
        bob.is_active = False
        bob.save()
        assert watch.seen_still(pairs) == {(one, alice.pk, None) for one in some}


def revoke(key: ApiKey) -> None:
    key.revoke(by=key.user, now=clock.now())


def expire(key: ApiKey) -> None:
    ApiKey.objects.filter(pk=key.pk).update(expires_at=clock.now() - timedelta(seconds=1))


def rotate_away(key: ApiKey) -> None:
    rotate_key(key=key, by=key.user, overlap=timedelta(0), now=clock.now())


class TestKeys:
    """What an API key opened lasts no longer than the key."""

    @pytest.fixture
    def task(self, alice: Any, dana: Any) -> Any:
        return an_approved_task(alice, dana)

    @pytest.fixture
    def made(self, alice: Any) -> tuple[ApiKey, str]:
        return create_key(user=alice, name="watcher", scopes=["tasks:read"], now=clock.now())

    @pytest.mark.parametrize("end", [revoke, expire, rotate_away])
    def test_a_stream_ends_with_its_key(
        self, task: Any, made: tuple[ApiKey, str], settings: LazySettings, end: Callable[[ApiKey], None]
    ) -> None:
        settings.STREAM_RIGHT_SECONDS, (key, _) = 0.2, made

        async def scene(streams: Streams) -> tuple[Watcher, int]:
            person, script = Watcher(streams, address(task)), Watcher(streams, address(task, key=key))
            for watcher in (person, script):
                await watcher.sees(lambda w: w.text)
            await asyncio.sleep(0.5)
            assert not script.done.done()
            await doing(end, key)
            await script.end()
            assert not person.done.done()  # whose own right stands
            return script, (await Watcher(streams, address(task, key=key)).end()).status

        script, again = live(scene)
        assert (script.status, again) == (200, 404)
        assert "end" not in {kind for kind, _, _ in script.events()}

    def test_the_address_names_the_key_that_asked_for_it(self, task: Any, made: tuple[ApiKey, str], api: Any) -> None:
        key, text = made
        body = api().get(f"/api/v1/tasks/{task.pk}/logs/stream/", headers={"Authorization": f"Api-Key {text}"}).json()
        ticket = parse_qs(urlsplit(body["url"]).query)["ticket"][0]
        assert tickets.read(purpose="stream", ticket=ticket) == f"{task.pk}:{key.user_id}:{key.pk}"

    def test_a_key_is_its_user_s_and_its_account_s_alone(
        self, task: Any, bob: Any, lab: Any, alice: Any, dana: Any
    ) -> None:
        of_lab, _ = create_key(user=alice, account=lab, name="lab", scopes=["tasks:read"], now=clock.now())
        of_staff, _ = create_key(user=dana, name="staff", scopes=["tasks:read"], now=clock.now())
        rights = [
            (task.pk, alice.pk, None),
            (task.pk, alice.pk, of_lab.pk),  # which does nothing outside of the lab
            (task.pk, alice.pk, of_staff.pk),
            (task.pk, dana.pk, of_staff.pk),
            (task.pk, alice.pk, uuid4()),
        ]
        assert watch.seen_still(rights) == {rights[0], rights[3]}
