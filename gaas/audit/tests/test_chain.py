"""Events get their place in one chain, whoever commits when, and keep what they say."""

from __future__ import annotations

import threading

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction

from gaas.audit import actors, triggers
from gaas.audit.chain import Link
from gaas.audit.models import AuditEvent
from gaas.audit.services import chain_events, check, record
from gaas.lib.ids import uuid7

pytestmark = pytest.mark.django_db


def run(statement, *params):
    with connection.cursor() as cursor:
        cursor.execute(statement, params)


def some_events(lab, count=3):
    return [record(action="lab.x", obj=lab, by=None, after={"n": n, "b": [1.5, "é"]}) for n in range(count)]


def in_order():
    return list(AuditEvent.objects.chained().values_list("seq", "action", "after__n"))


@pytest.fixture
def forging():
    """Be somebody at the database's prompt who took the triggers away and puts them back afterwards."""
    triggers.remove(connection)
    yield
    triggers.install(connection)


@pytest.fixture
def postgresql():
    if connection.vendor != "postgresql":
        pytest.skip("threads prove nothing on SQLite, which has one writer at a time")


class TestChainEvents:
    def test_it_gives_each_its_place(self, lab):
        first, *_ = some_events(lab)
        assert chain_events() == 3
        assert in_order() == [(1, "lab.x", 0), (2, "lab.x", 1), (3, "lab.x", 2)]
        assert chain_events() == 0
        first.refresh_from_db()
        assert len(first.digest) == 64
        assert check().problems == []
        assert check().end == Link(3, AuditEvent.objects.get(seq=3).digest)

    def test_it_goes_on_where_it_stopped(self, lab):
        some_events(lab, 5)
        assert [chain_events(limit=2), chain_events(limit=2), chain_events(limit=2)] == [2, 2, 1]
        assert [seq for seq, *_ in in_order()] == [1, 2, 3, 4, 5]
        assert check().problems == []

    def test_the_actor_chains_all_that_wait(self, lab):
        some_events(lab, 3)
        actors.chain_events()
        assert check().waiting == 0

    def test_an_event_with_an_earlier_id_that_commits_late_comes_behind(self, lab):
        early = uuid7()
        some_events(lab, 1)
        chain_events()
        AuditEvent.objects.create(
            id=early, action="lab.late", object_type="x", object_id="1", at=AuditEvent.objects.get().at
        )
        assert chain_events() == 1
        assert [action for _, action, _ in in_order()] == ["lab.x", "lab.late"]
        assert check().problems == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("postgresql")
class TestRaces:
    def test_eight_writers_and_four_chainers_make_one_chain(self, lab):
        gate = threading.Barrier(12)
        failed = []

        def going(call):
            def body():
                try:
                    gate.wait(120)
                    for _ in range(15):
                        call()
                except Exception as error:
                    failed.append(error)
                finally:
                    connection.close()

            return threading.Thread(target=body)

        threads = [going(lambda: some_events(lab, 1)) for _ in range(8)] + [going(chain_events) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        chain_events()
        assert failed == []
        assert [seq for seq, *_ in in_order()] == list(range(1, 121))
        assert (check().problems, check().waiting) == ([], 0)

    def test_an_open_transaction_keeps_nobody_waiting_and_is_not_skipped(self, lab):
        written, go_on = threading.Event(), threading.Event()

        def slow():
            with transaction.atomic():
                record(action="lab.slow", obj=lab, by=None)
                written.set()
                go_on.wait(120)
            connection.close()

        thread = threading.Thread(target=slow)
        thread.start()
        assert written.wait(120)
        some_events(lab, 2)
        assert chain_events() == 2
        go_on.set()
        thread.join(120)
        assert chain_events() == 1
        assert [action for _, action, _ in in_order()] == ["lab.x", "lab.x", "lab.slow"]
        assert check().problems == []


class TestTriggers:
    def test_they_stand_after_migrate(self):
        assert triggers.missing(connection) == []

    @pytest.mark.parametrize(
        "attack",
        [
            "UPDATE audit_auditevent SET reason = 'other'",
            "UPDATE audit_auditevent SET actor_label = ''",
            "UPDATE audit_auditevent SET after = '{}'",
            "UPDATE audit_auditevent SET seq = 9",
            "UPDATE audit_auditevent SET seq = NULL, digest = ''",
            "UPDATE audit_auditevent SET digest = 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'",
            "DELETE FROM audit_auditevent",
        ],
    )
    @pytest.mark.parametrize("is_chained", [True, False])
    def test_nothing_changes_or_removes_an_event(self, lab, attack, is_chained):
        some_events(lab, 1)
        if is_chained:
            chain_events()
        before = AuditEvent.objects.values().get()
        with pytest.raises(IntegrityError), transaction.atomic():
            run(attack)
        assert AuditEvent.objects.values().get() == before

    def test_chaining_may_change_nothing_else(self, lab):
        (event,) = some_events(lab, 1)
        with pytest.raises(IntegrityError, match="never changed"), transaction.atomic():
            run("UPDATE audit_auditevent SET seq = 1, digest = %s, reason = 'other'", "a" * 64)
        event.refresh_from_db()
        assert (event.seq, event.reason) == (None, "")

    def test_an_event_cannot_come_with_a_place(self, lab):
        some_events(lab, 1)
        with pytest.raises(IntegrityError), transaction.atomic():
            AuditEvent.objects.create(
                action="x", object_type="x", object_id="1", at=AuditEvent.objects.get().at, seq=7, digest="a" * 64
            )

    def test_truncate_is_refused(self, lab):
        if connection.vendor != "postgresql":
            pytest.skip("SQLite has no TRUNCATE")
        some_events(lab, 1)
        connection.check_constraints()
        with pytest.raises(IntegrityError, match="never changed"), transaction.atomic():
            run("TRUNCATE audit_auditevent")

    def test_replace_is_refused(self, lab):
        if connection.vendor != "sqlite":
            pytest.skip("only SQLite has OR REPLACE")
        some_events(lab, 2)
        chain_events(limit=1)
        columns = ", ".join(f'"{column}"' for column in triggers.WRITTEN)
        with pytest.raises(IntegrityError), transaction.atomic():
            run(
                f"INSERT OR REPLACE INTO audit_auditevent ({columns}, digest)"
                f" SELECT {columns}, '' FROM audit_auditevent"
            )
        with pytest.raises(IntegrityError), transaction.atomic():
            run("UPDATE OR REPLACE audit_auditevent SET seq = 1, digest = %s WHERE seq IS NULL", "a" * 64)
        assert AuditEvent.objects.count() == 2

    def test_they_cover_every_column(self):
        columns = {field.column for field in AuditEvent._meta.concrete_fields}
        assert columns == {*triggers.WRITTEN, "seq", "digest"}


@pytest.mark.usefixtures("forging")
class TestCheck:
    @pytest.mark.parametrize(
        ("forgery", "said"),
        [
            ("UPDATE audit_auditevent SET reason = 'other' WHERE seq = 2", "event 2 ("),
            ("UPDATE audit_auditevent SET after = '{}' WHERE seq = 2", "event 2 ("),
            ("UPDATE audit_auditevent SET object_id = 'x' WHERE seq = 2", "event 2 ("),
            ("DELETE FROM audit_auditevent WHERE seq = 2", "event 2 is missing"),
            ("DELETE FROM audit_auditevent WHERE seq = 1", "event 1 is missing"),
            ("UPDATE audit_auditevent SET seq = CASE seq WHEN 2 THEN 9 ELSE seq END", "event 2 is missing"),
        ],
    )
    def test_it_names_the_first_broken_event(self, lab, forgery, said):
        some_events(lab, 4)
        chain_events()
        run(forgery)
        assert check().problems[0].startswith(said)
        assert check().end.seq == (0 if "seq = 1" in forgery else 1)

    def test_a_cut_end_shows_by_what_was_noted(self, lab):
        some_events(lab, 3)
        chain_events()
        noted = check().end
        run("DELETE FROM audit_auditevent WHERE seq = 3")
        assert "event 3 was noted and is missing: the chain ends at 2" in check(noted=[noted]).problems

    def test_a_chain_written_anew_shows_by_what_was_noted(self, lab):
        some_events(lab, 3)
        chain_events()
        noted = check().end
        run("UPDATE audit_auditevent SET reason = 'other' WHERE seq = 2")
        run("UPDATE audit_auditevent SET seq = NULL, digest = ''")
        chain_events()
        assert not [problem for problem in check().problems if "trigger" not in problem]
        assert check(noted=[noted]).problems[0].startswith("event 3 (")

    def test_each_trigger_that_fell_is_a_problem(self):
        assert len(check().problems) == len(triggers.missing(connection)) > 3


class TestCommand:
    def test_it_tells_how_far_the_chain_holds(self, lab, capsys):
        some_events(lab, 2)
        chain_events(limit=1)
        end = AuditEvent.objects.get(seq=1).digest
        call_command("audit_check", "--noted", f"1:{end}")
        assert capsys.readouterr().out == f"The chain holds up to 1:{end}\n1 events wait for their place in it.\n"

    def test_it_ends_with_1_on_a_break(self, lab, forging, capsys):
        some_events(lab, 2)
        chain_events()
        run("UPDATE audit_auditevent SET reason = 'other' WHERE seq = 1")
        with pytest.raises(CommandError) as refused:
            call_command("audit_check")
        assert refused.value.returncode == 1
        assert "BROKEN  event 1 (" in capsys.readouterr().out

    @pytest.mark.parametrize("noted", ["x", "0:" + "a" * 64, "1:zz", "-1:" + "a" * 64, "1:" + "a" * 63])
    def test_it_refuses_what_no_check_printed(self, noted):
        with pytest.raises(CommandError, match="is no number and digest"):
            call_command("audit_check", f"--noted={noted}")

    def test_the_daily_check_logs_a_break(self, lab, forging, caplog):
        some_events(lab, 1)
        chain_events()
        run("DELETE FROM audit_auditevent")
        record(action="lab.y", obj=lab, by=None)
        actors.check_chain()
        assert "the audit trail is broken: the trigger" in caplog.text
