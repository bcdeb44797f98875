import pytest
from django.db import connection

from accounts.ledger.models import Asset
from gaas.lib.admin import EstimatePaginator

pytestmark = pytest.mark.django_db


class FewPaginator(EstimatePaginator):
    exact_up_to = 10


@pytest.fixture
def assets():
    Asset.objects.bulk_create(Asset(code=f"A{n}", kind="currency", scale=n + 1) for n in range(30))
    return Asset.objects.order_by("-pk")


class TestEstimatePaginator:
    def test_few_rows_are_counted_exactly(self, assets):
        assert EstimatePaginator(assets, 5).count == 32

    def test_many_filtered_rows_end_at_the_bound(self, assets):
        assert FewPaginator(assets.filter(kind="currency"), 5).count == 10
        assert FewPaginator(assets.filter(scale__lte=3), 5).count == 3

    def test_a_whole_table_shows_the_planners_estimate(self, assets):
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE ledger_asset")
        assert FewPaginator(assets, 5).count == (32 if connection.vendor == "postgresql" else 10)

    def test_it_never_counts_the_whole_table(self, assets, django_assert_num_queries):
        with django_assert_num_queries(2 if connection.vendor == "postgresql" else 1) as captured:
            assert FewPaginator(assets, 5).count
        assert "LIMIT 10" in captured[0]["sql"]
