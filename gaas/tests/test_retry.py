import threading

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction

from accounts.ledger.models import Asset
from gaas.lib.retry import is_transient, retried


@pytest.mark.django_db(transaction=True)
class TestRetried:
    def test_a_verb_is_one_transaction(self):
        @retried
        def make_and_fail():
            Asset.objects.create(code="EUR", kind="currency", scale=1)
            raise ValueError

        with pytest.raises(ValueError):
            make_and_fail()
        assert not Asset.objects.filter(code="EUR").exists()

    def test_a_clash_is_tried_once_more(self):
        calls = []

        @retried
        def insert_or_find():
            calls.append(1)
            if len(calls) == 1:
                Asset.objects.bulk_create([Asset(code="GPU", kind="hours", scale=1)])
            return Asset.objects.get(code="GPU")

        assert insert_or_find().scale == 3_600_000
        assert len(calls) == 2

    def test_a_clash_inside_anothers_transaction_leaves_that_usable(self):
        @retried
        def always_clash():
            Asset.objects.bulk_create([Asset(code="GPU", kind="hours", scale=1)])

        with transaction.atomic():
            with pytest.raises(IntegrityError):
                always_clash()
            assert Asset.objects.filter(code="GPU").exists()

    def test_what_is_wrong_stays_wrong(self):
        @retried
        def wrong():
            with connection.cursor() as cursor:
                cursor.execute("SELECT nonsense FROM nowhere")

        with pytest.raises(Exception, match=r"nowhere|nonsense") as raised:
            wrong()
        assert not is_transient(raised.value)

    def test_two_that_lock_crosswise_both_end(self):
        if connection.vendor != "postgresql":
            pytest.skip("SQLite has one writer at a time, so nothing locks crosswise")
        both_have_one = threading.Barrier(2)
        ended, tries = [], []

        def lock_both(first, second):
            @retried
            def verb():
                tries.append(first)
                Asset.objects.filter(code=first).update(scale=1)
                if len(tries) <= 2:
                    both_have_one.wait(60)
                Asset.objects.filter(code=second).update(scale=1)

            try:
                verb()
                ended.append(first)
            finally:
                connection.close()

        threads = [threading.Thread(target=lock_both, args=pair) for pair in (("GPU", "USD"), ("USD", "GPU"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sorted(ended) == ["GPU", "USD"]
        assert len(tries) > 2

    def test_a_deadlock_inside_anothers_transaction_passes_up(self):
        if connection.vendor != "postgresql":
            pytest.skip("SQLite has one writer at a time")
        tries = []

        @retried
        def refuse():
            tries.append(1)
            with connection.cursor() as cursor:
                cursor.execute("DO $$ BEGIN RAISE EXCEPTION 'met' USING ERRCODE = '40P01'; END $$")

        with pytest.raises(OperationalError) as raised, transaction.atomic():
            refuse()
        assert is_transient(raised.value)
        assert len(tries) == 1
