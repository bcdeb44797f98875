from __future__ import annotations

import pytest
from django.db import transaction

from gaas.audit.models import AuditEvent
from gaas.audit.services import record
from gaas.lib import context

pytestmark = pytest.mark.django_db


class TestRecord:
    def test_it_keeps_who_what_and_why(self, alice, lab):
        event = record(
            action="account.rename", obj=lab, by=alice, before={"name": "Old"}, after={"name": "Lab"}, reason="x"
        )
        event.refresh_from_db()
        assert (event.actor, event.actor_label) == (alice, "alice@example.test")
        assert (event.object_type, event.object_id, event.object_label) == ("accounts.account", str(lab.pk), "Lab")
        assert event.account_id == str(lab.pk)
        assert (event.before, event.after, event.reason) == ({"name": "Old"}, {"name": "Lab"}, "x")
        assert event.at is not None

    def test_it_takes_the_account_from_the_object(self, alice, lab):
        membership = lab.memberships.get(user=alice)
        assert record(action="x.y", obj=membership, by=None).account_id == str(lab.pk)
        assert record(action="x.y", obj=alice, by=None).account_id == ""

    def test_the_platform_and_machines_act_too(self, alice, lab):
        assert (record(action="x.y", obj=lab, by=None).actor_label) == ""
        by_other = record(action="x.y", obj=lab, by=lab)
        assert (by_other.actor, by_other.actor_label) == (None, "Lab")
        assert record(action="x.y", obj=lab, by="sweep").actor_label == "sweep"

    def test_it_keeps_the_request_and_its_address(self, lab):
        tokens = context.request_id.set("r-1"), context.address.set("192.0.2.1")
        try:
            event = record(action="x.y", obj=lab, by=None)
        finally:
            context.request_id.reset(tokens[0])
            context.address.reset(tokens[1])
        assert (event.request_id, event.address) == ("r-1", "192.0.2.1")

    def test_it_falls_with_the_deed(self, lab):
        class Failure(Exception):
            pass

        def deed():
            with transaction.atomic():
                record(action="x.y", obj=lab, by=None)
                raise Failure

        with pytest.raises(Failure):
            deed()
        assert not AuditEvent.objects.exists()


class TestAuditEvent:
    def test_it_is_never_changed_nor_removed(self, lab):
        event = record(action="x.y", obj=lab, by=None)
        with pytest.raises(TypeError):
            event.save()
        with pytest.raises(TypeError):
            event.delete()
        with pytest.raises(TypeError):
            AuditEvent.objects.all().delete()
        with pytest.raises(TypeError):
            AuditEvent.objects.update(reason="other")
        assert AuditEvent.objects.get().reason == ""
