from __future__ import annotations

import pytest

from gaas.audit.models import AuditEvent
from gpus.tests.fleet import a_gpu

pytestmark = pytest.mark.django_db


@pytest.fixture
def gpu(olga):
    return a_gpu(olga.personal_account)


def patch(client, gpu, body):
    return client.patch(f"/api/v1/gpus/{gpu.pk}/", body, format="json")


class TestOffer:
    def test_the_owner_sets_the_terms(self, api, olga, gpu):
        body = {
            "price_per_hour_usd": "2.500000",
            "visibility": "TREE",
            "accepts_quota": False,
            "labels": {"rack": "b3"},
        }
        answer = patch(api(olga), gpu, body)

        assert answer.status_code == 200, answer.data
        assert {name: answer.data[name] for name in body} == body
        assert answer.data["price_per_hour_microusd"] == 2_500_000
        gpu.refresh_from_db()
        assert gpu.price_per_hour == 2_500_000

    def test_it_leaves_what_is_not_named(self, api, olga, gpu):
        patch(api(olga), gpu, {"price_per_hour_usd": 1})

        gpu.refresh_from_db()
        assert (gpu.price_per_hour, gpu.visibility, gpu.accepts_quota) == (1_000_000, "PUBLIC", True)

    def test_it_takes_zero(self, api, olga, gpu):
        patch(api(olga), gpu, {"price_per_hour_usd": "2"})

        assert patch(api(olga), gpu, {"price_per_hour_usd": "0"}).data["price_per_hour_usd"] == "0.000000"

    def test_it_is_audited_with_before_and_after_and_only_when_something_changed(self, api, olga, gpu):
        before = list(AuditEvent.objects.values_list("pk", flat=True))
        patch(api(olga), gpu, {"price_per_hour_usd": "2"})
        patch(api(olga), gpu, {"price_per_hour_usd": "2"})
        patch(api(olga), gpu, {})

        event = AuditEvent.objects.exclude(pk__in=before).get(action="gpu.offer")
        assert (event.before, event.after) == ({"price_per_hour": 0}, {"price_per_hour": 2_000_000})

    def test_who_only_sees_it_gets_403(self, api, charlie, gpu):
        assert patch(api(charlie), gpu, {"price_per_hour_usd": "0"}).status_code == 403

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            *[
                ("price_per_hour_usd", value)
                for value in [
                    -1,
                    "-1",
                    1.5,
                    True,
                    None,
                    "1_0",
                    "1e3",
                    "NaN",
                    "",
                    [],
                    {},
                    10**40,
                    "0.0000001",
                    2_000_000,
                ]
            ],
            *[("visibility", value) for value in ["public", "ALL", None, 1, []]],
            *[("accepts_quota", value) for value in ["yes", 1, None, []]],
            *[("labels", value) for value in [[], "x", None, {"a b": "c"}, {"a": 1}, {str(n): "x" for n in range(33)}]],
            ("status", "RETIRED"),
            ("owner", "x"),
            ("host", "x"),
            ("model", "NVIDIA B200"),
            ("wish", 1),
        ],
        ids=lambda value: str(value)[:20],
    )
    def test_it_names_the_field_that_is_wrong(self, api, olga, gpu, field, value):
        answer = patch(api(olga), gpu, {field: value})

        assert answer.status_code == 400
        assert answer.data["errors"][0]["attr"].split(".")[0] == field
        before = gpu.price_per_hour
        gpu.refresh_from_db()
        assert gpu.price_per_hour == before
