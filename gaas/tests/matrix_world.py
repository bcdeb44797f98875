"""The one set of rows on which every endpoint is called by everybody (gaas/tests/test_matrix.py).

`lab` stands below `school` and has somebody in each role; `desk`, `club`, which has an owner of its own, and the
empty `spare` stand below `lab`. What belongs to the lab has SECRET in its name, so that an answer that tells of it
to a stranger gives itself away.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any
from uuid import uuid4

from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group
from django.contrib.auth.tokens import default_token_generator
from django.db import transaction
from django.test import override_settings
from rest_framework.test import APIClient

from accounts import services as accounts
from accounts.choices import CapPeriod, InvitationKind, Role, Scope
from accounts.ledger import services as ledger
from accounts.models import Account, Invitation, Membership, User
from accounts.services import tokens
from accounts.services.keys import create_key
from accounts.services.register import verification_key
from gaas.groups import GROUPS
from gaas.lib import clock
from gaas.outbox.models import WebhookDelivery
from gaas.outbox.tests.hooks import a_webhook
from gaas.tests.cast import PASSWORD
from gpus import services as gpus
from gpus.tests.fleet import a_device, an_active_host, some_facts
from payments import services as payments
from payments.models import Statement
from tasks import services as tasks
from tasks.choices import StepKind
from tasks.draft import InputWanted
from tasks.models import Attempt, Upload
from tasks.tests.rig import HOUR, Rig, a_draft, has_run_for, offered_to, running_on, top_up

SECRET = "zz-secret"
NEW_PASSWORD = "another horse battery staple"
LOG = f"{SECRET} line\n".encode()
FILE = b"1,2,3\n"

# Who calls, in the order of the table's columns.
ROLES = ("viewer", "member", "manager", "owner")
STAFF = tuple(GROUPS)
CALLERS = ("nobody", "outsider", *ROLES, *STAFF, "superuser", "key", "host", "other host")


class World:
    """Hold the rows by name, a client for each caller, and what bodies need."""

    def __init__(self) -> None:
        self.rows: dict[str, Any] = {}
        self.callers: dict[str, APIClient] = {"nobody": _client()}
        self.users: dict[str, User] = {}
        self._people()
        self._family()
        self._keys()
        self._fleet()
        self._work()
        self._money()
        self._hooks()

    def __getattr__(self, name: str) -> Any:
        return self.rows[name]

    def _people(self) -> None:
        password = make_password(PASSWORD)
        groups = {group.name: group for group in Group.objects.filter(name__in=GROUPS)}
        for name in (*CALLERS[1:-3], "mate", "deskmate", "rival"):
            user = User.objects.create(
                email=f"{name.lower()}@example.test",
                name=name if name in STAFF or name in ("outsider", "superuser") else f"{SECRET} {name}",
                password=password,
                email_verified_at=clock.now(),
                is_staff=name in STAFF or name == "superuser",
                is_superuser=name == "superuser",
            )
            if name in STAFF:
                user.groups.add(groups[name])
            self.users[name] = user
            self.callers[name] = _client(f"Bearer {tokens.open_log_in(user=user).access}")
        self.rows["person"] = self.users["mate"]
        self.rows["switched_off"] = User.objects.create(
            email="away@example.test", name=f"{SECRET} away", password=password, is_active=False
        )

    def _family(self) -> None:
        school = Account.objects.create(name=f"{SECRET} school")
        lab = Account.objects.create(name=f"{SECRET} lab", parent=school)
        desk = Account.objects.create(name=f"{SECRET} desk", parent=lab)
        spare = Account.objects.create(name=f"{SECRET} spare", parent=lab)
        for role in Role:
            Membership.objects.create(account=lab, user=self.users[role.lower()], role=role)
        club = Account.objects.create(name=f"{SECRET} club", parent=lab)
        Membership.objects.create(account=club, user=self.users["deskmate"], role=Role.OWNER)
        mate = Membership.objects.create(account=lab, user=self.users["mate"], role=Role.VIEWER)
        Membership.objects.create(account=desk, user=self.users["deskmate"], role=Role.MEMBER)
        owner, now = self.users["owner"], clock.now()
        accounts.grant_hours(account=lab, gpu_ms=100 * HOUR, by=None, reason="A year", key="matrix")
        top_up(lab, 100_000_000)
        accounts.fund(account=lab, to=desk, asset="GPU", amount=20 * HOUR, by=owner, key="matrix-desk")
        self.rows |= {
            "school": school,
            "lab": lab,
            "desk": desk,
            "club": club,
            "spare": spare,
            "mate": mate,
            "cap": accounts.set_cap(
                account=desk, asset="USD", period=CapPeriod.MONTH, limit=1_000_000, by=owner, now=now
            ),
            "registry": accounts.set_registry_login(
                account=lab, server="docker.io", username="robot", password="a-token", by=owner
            ),
            "threshold": accounts.set_threshold(account=desk, asset="GPU", above=HOUR, by=owner),
            "invitation": accounts.invite(
                account=lab, email=f"{SECRET}@example.test", role=Role.MEMBER, by=owner, now=now
            ),
            "quota_request": accounts.request_quota(
                account=lab, gpu_ms=HOUR, by=self.users["member"], reason=f"{SECRET} reason"
            ),
        }
        token = f"letter-{uuid4()}"
        Invitation.objects.create(
            account=lab,
            email=self.users["outsider"].email,
            role=Role.VIEWER,
            token_hash=hashlib.sha256(token.encode()).hexdigest(),
            invited_by=owner,
            expires_at=now + timedelta(days=365),
        )
        self.rows["letter"] = token
        self.rows["link_letter"] = link = f"link-{uuid4()}"
        self.rows["link_invitation"] = Invitation.objects.create(
            account=lab,
            email=self.users["outsider"].email,
            kind=InvitationKind.CHILD,
            token_hash=hashlib.sha256(link.encode()).hexdigest(),
            invited_by=owner,
            expires_at=now + timedelta(days=365),
        )

    def _keys(self) -> None:
        now = clock.now()
        self.rows["api_key"], _ = create_key(
            user=self.users["member"], name=f"{SECRET} key", scopes=[Scope.TASKS_READ], now=now
        )
        _, text = create_key(user=self.users["owner"], name="too little", scopes=[Scope.AI_USE], now=now)
        self.callers["key"] = _client(f"Api-Key {text}")
        mate = self.users["mate"]
        self.rows["refresh"] = tokens.open_log_in(user=mate).refresh
        self.rows["reset_token"] = default_token_generator.make_token(mate)
        self.rows["email_key"] = verification_key(mate)

    def _fleet(self) -> None:
        now = clock.now()
        self.rig = Rig(self.lab, name=f"{SECRET} rig", visibility="PRIVATE")
        other = Rig(self.users["rival"].personal_account, name="other", visibility="PRIVATE", accepts_quota=False)
        self.callers["host"], self.callers["other host"] = self.rig.http, other.http
        unlisted = an_active_host(self.lab, a_device(model=f"{SECRET} model"), name=f"{SECRET} second")
        draining = an_active_host(self.lab, name=f"{SECRET} draining")
        draining.drain(by=None, now=now)
        joining, self.rows["join_token"] = gpus.register_host(account=self.lab, name=f"{SECRET} new", by=None, now=now)
        resting = (
            an_active_host(self.lab, a_device(), name=f"{SECRET} third").gpus.select_related("host__account").get()
        )
        resting.offer(by=None, now=now, visibility="PRIVATE")
        resting.list(by=None, now=now)
        resting.drain(by=None, now=now)
        self.rows |= {
            "host_row": self.rig.host,
            "gpu": self.rig.host.gpus.get(),
            "unlisted_gpu": unlisted.gpus.get(),
            "draining_gpu": resting,
            "draining_host": draining,
            "joining_host": joining,
        }

    def _money(self) -> None:
        now = clock.now()
        self.rows["payment"] = payments.start_payment(
            account=self.lab, provider="manual", amount=7_000_000, by=self.users["owner"], now=now
        )
        self.rows["statement"] = Statement.objects.create(account=self.lab, kind="account", month=date(2026, 1, 1))
        self.rows["paid"] = payments.record_payment(
            account=self.lab,
            amount=9_000_000,
            method="cash",
            reference=f"{SECRET} receipt",
            by=self.users["superuser"],
            now=now,
        )
        owner, long_ago = self.users["owner"], now - timedelta(days=30)
        self.rows["destination"] = payments.add_destination(
            account=self.lab, kind="manual", detail=f"{SECRET} bank account", by=owner, now=long_ago
        )
        ledger.transfer(
            key="matrix-earned",
            kind="matured",
            debit=ledger.platform_balance(asset="USD", kind="fees"),
            credit=payments.earnings_of(self.lab),
            amount=100_000_000,
        )
        self.rows["payout"] = payments.request_payout(
            destination=self.destination, amount=20_000_000, by=owner, now=now
        )
        owner = self.users["owner"]
        for name in ("offered_contract", "contract", "paused_contract"):
            made = payments.create_contract(
                payments.ContractWanted(
                    kind="allowance", title=f"{SECRET} {name}", payer=self.lab, payee=self.desk, starts_on=None
                ),
                payments.TermsWanted(asset="GPU", amount=HOUR),
                by=owner,
                now=now,
            )
            if name != "offered_contract":
                made = payments.accept_terms(contract_id=made.pk, version=1, by=owner, now=now)
            if name == "paused_contract":
                made = payments.pause_contract(contract_id=made.pk, by=owner, now=now)
            self.rows[name] = made

    def _work(self) -> None:
        staff, member, now = self.users["superuser"], self.users["member"], clock.now()

        def asked(**more: Any) -> Any:
            draft = a_draft(title=f"{SECRET} task", account=self.lab, **more)
            return tasks.submit(draft, by=member, now=now)

        self.rows["upload"] = self._upload(FILE)
        tasks.complete_upload(self.upload, sha256="", by=member, now=now)
        self.rows["open_upload"] = self._upload(FILE)
        self.rows["spare_upload"] = self._upload(b"")
        given = (InputWanted(upload=self.upload.pk),)
        serves = {"command": ["true"], "serve": True}
        self.rows["running"] = tasks.approve(asked(inputs=given, spec=serves), by=staff, now=now)
        offer = running_on(self.rig)
        self.rig.put(offer, f"{SECRET}.bin", FILE)
        self.rig.log(offer, LOG, 0)
        has_run_for(offer, 60)
        self.rig2 = Rig(self.lab, name=f"{SECRET} fourth", visibility="PRIVATE")
        tasks.approve(asked(), by=staff, now=now)
        offer2 = offered_to(self.rig2)
        self.callers["second host"] = self.rig2.http
        self.rows["ended"] = asked()
        tasks.cancel(self.ended, by=member, now=now)
        self.rows["waiting"] = asked()
        desk_task = tasks.submit(
            a_draft(title=f"{SECRET} of the desk", account=self.desk), by=self.users["deskmate"], now=now
        )
        self.rows |= {
            "offer": offer,
            "offer2": offer2,
            "attempt": self.running.attempts.get(),
            "artifact": self.running.artifacts.get(),
            "input_file": self.upload.file,
            "attempt2": Attempt.objects.get(pk=offer2["id"]),
            "step": self.waiting.approval_steps.get(),
            "parents_step": desk_task.approval_steps.get(kind=StepKind.PARENT_MANAGER),
        }

    def _hooks(self) -> None:
        # It ended: what is on its way is not sent again.
        now = clock.now()
        self.rows["webhook"] = hook = a_webhook(self.lab, url=f"https://{SECRET}.example/")
        self.rows["delivery"] = WebhookDelivery.objects.create(
            webhook=hook,
            event_id=uuid4(),
            event="task.completed",
            body=f'{{"title": "{SECRET}"}}',
            status="FAILED",
            last_attempt=8,
            due_at=now,
            finished_at=now,
        )

    def _upload(self, data: bytes) -> Upload:
        member = self.users["member"]
        upload = tasks.create_upload(name=f"{SECRET}.csv", size=len(data), account=self.lab, by=member, now=clock.now())
        tasks.send_upload(upload, offset=0, stream=io.BytesIO(data), length=len(data), by=member)
        return upload

    def facts(self) -> dict[str, Any]:
        return some_facts().to_wire()


def _client(credential: str = "") -> APIClient:
    client = APIClient(**({"HTTP_AUTHORIZATION": credential} if credential else {}))
    client.raise_request_exception = False
    return client


@contextmanager
def a_world(django_db_blocker: Any) -> Iterator[World]:
    """Make the rows for the tests of a module, and leave none; passwords cost little meanwhile."""
    cheap = override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"])
    with django_db_blocker.unblock(), cheap, transaction.atomic():
        yield World()
        transaction.set_rollback(True)
