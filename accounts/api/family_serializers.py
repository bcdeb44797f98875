"""Bodies of what families and teams do: children, members, shares, caps and thresholds."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError

from accounts.choices import CapPeriod, InvitationKind, PaysFrom, Role
from accounts.models import CapRule
from accounts.services.caps import MAX_LIMIT
from accounts.services.hours import MAX_GRANT_MS
from gaas.lib.amounts import MICRO, show_hours, show_micro
from gaas.lib.emails import check_email
from gaas.lib.rest.fields import HoursField, TextField, UsdField
from gaas.lib.rest.serializers import StrictSerializer

MAX_MONEY = 1_000_000_000 * MICRO


class AccountCreateSerializer(StrictSerializer):
    name = TextField(max_length=150)


class AccountPatchSerializer(StrictSerializer):
    name = TextField(max_length=150, required=False)
    pays_from = serializers.ChoiceField(choices=PaysFrom.choices, required=False)
    parent = serializers.UUIDField(required=False, allow_null=True, help_text="null makes it a root.")


class ChildCreateSerializer(AccountCreateSerializer):
    pays_from = serializers.ChoiceField(choices=PaysFrom.choices, default=PaysFrom.SELF)


class CloseSerializer(StrictSerializer):
    reason = TextField(max_length=2000, lines=True, required=False, allow_blank=True, default="")


class MemberSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    account = serializers.UUIDField(source="account_id")
    user = serializers.UUIDField(source="user_id")
    email = serializers.EmailField(source="user.email")
    name = serializers.CharField(source="user.name")
    role = serializers.ChoiceField(choices=Role.choices)
    created_at = serializers.DateTimeField()


class InviteSerializer(StrictSerializer):
    email = serializers.EmailField(max_length=254, validators=[check_email])
    role = serializers.ChoiceField(choices=Role.choices, default=Role.MEMBER)


class InviteChildSerializer(StrictSerializer):
    email = serializers.EmailField(max_length=254, validators=[check_email])
    pays_from = serializers.ChoiceField(
        choices=PaysFrom.choices,
        default=PaysFrom.SELF,
        help_text="PARENT offers to pay; who owns the account takes it up or not.",
    )


class RoleSerializer(StrictSerializer):
    role = serializers.ChoiceField(choices=Role.choices)


class InvitationSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    account = serializers.UUIDField(source="account_id")
    email = serializers.EmailField()
    kind = serializers.ChoiceField(choices=InvitationKind.choices)
    role = serializers.ChoiceField(source="offered_role", choices=Role.choices, allow_null=True)
    pays_from = serializers.ChoiceField(choices=PaysFrom.choices, help_text="What is offered to a child account.")
    invited_by = serializers.EmailField(source="invited_by.email")
    expires_at = serializers.DateTimeField()
    created_at = serializers.DateTimeField()


class InvitationTokenSerializer(StrictSerializer):
    """Take a letter's token; the form of the browsable page has the one of the link filled in."""

    token = TextField(max_length=200)

    def get_initial(self) -> dict[str, Any]:
        request = self.context.get("request")
        if request is None or hasattr(self, "initial_data"):
            return super().get_initial()
        return {"token": request.query_params.get("token", "")}


class LinkSerializer(InvitationTokenSerializer):
    account = serializers.UUIDField(help_text="An account that the caller owns by membership; their own, for one.")
    pays_from = serializers.ChoiceField(
        choices=PaysFrom.choices, default=PaysFrom.SELF, help_text="PARENT where the letter offers it."
    )


class OneAmount(StrictSerializer):
    """Take hours or money, one of the two, as `asset` and `amount`."""

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        hours, money = attrs.pop("hours", None), attrs.pop("amount_usd", None)
        if (hours is None) == (money is None):
            problem = "Give either `hours` or `amount_usd`."
            raise ValidationError({"hours": ErrorDetail(problem, "required" if hours is None else "invalid")})
        return {**attrs, "asset": "USD" if hours is None else "GPU", "amount": money if hours is None else hours}


class ShareSerializer(OneAmount):
    hours = HoursField(required=False, most=MAX_GRANT_MS)
    amount_usd = UsdField(required=False, most=MAX_MONEY)


class FundSerializer(ShareSerializer):
    to = serializers.UUIDField(help_text="A child, or an account further below.")


class ReclaimSerializer(ShareSerializer):
    """Name the account below in `from`, which is a word of Python's and so no attribute."""

    def get_fields(self) -> dict[str, serializers.Field]:
        source = serializers.UUIDField(source="below", help_text="A child, or an account further below.")
        return {"from": source, **super().get_fields()}


class LimitSerializer(OneAmount):
    hours = HoursField(required=False, allow_zero=True, most=MAX_LIMIT)
    amount_usd = UsdField(required=False, allow_zero=True, most=MAX_LIMIT)


class CapSetSerializer(LimitSerializer):
    period = serializers.ChoiceField(choices=CapPeriod.choices)


class ThresholdSetSerializer(LimitSerializer):
    """Take the amount of a task above which a manager approves first."""


class AmountShown(serializers.Serializer):
    """Show `amount_of` in its own unit, as decimals and exact; the other unit's fields are null."""

    id = serializers.UUIDField()
    account = serializers.UUIDField(source="account_id")
    asset = serializers.CharField()
    hours = serializers.SerializerMethodField(help_text="Where the asset is GPU.")
    gpu_ms = serializers.SerializerMethodField(help_text="Where the asset is GPU.")
    amount_usd = serializers.SerializerMethodField(help_text="Where the asset is USD.")
    amount_microusd = serializers.SerializerMethodField(help_text="Where the asset is USD.")
    created_at = serializers.DateTimeField()

    amount_of = ""

    @extend_schema_field(HoursField(allow_null=True))
    def get_hours(self, row: Any) -> str | None:
        return show_hours(getattr(row, self.amount_of)) if row.asset == "GPU" else None

    def get_gpu_ms(self, row: Any) -> int | None:
        return getattr(row, self.amount_of) if row.asset == "GPU" else None

    @extend_schema_field(UsdField(allow_null=True))
    def get_amount_usd(self, row: Any) -> str | None:
        return show_micro(getattr(row, self.amount_of)) if row.asset == "USD" else None

    def get_amount_microusd(self, row: Any) -> int | None:
        return getattr(row, self.amount_of) if row.asset == "USD" else None


class CapSerializer(AmountShown):
    """Show a cap with how its running period stands, which the view gave as `standing`."""

    amount_of = "limit"

    period = serializers.ChoiceField(choices=CapPeriod.choices)
    used = serializers.SerializerMethodField(help_text="In hours or dollars, as the cap is.")
    left = serializers.SerializerMethodField(help_text="In hours or dollars, as the cap is.")
    starts_at = serializers.DateTimeField(source="standing.starts_at")
    ends_at = serializers.DateTimeField(source="standing.ends_at", help_text="When it begins anew.")

    def get_used(self, rule: CapRule) -> str:
        return self._shown(rule, rule.standing.used)

    def get_left(self, rule: CapRule) -> str:
        return self._shown(rule, max(0, rule.limit - rule.standing.used))

    def _shown(self, rule: CapRule, amount: int) -> str:
        return show_hours(amount) if rule.asset == "GPU" else show_micro(amount)


class ThresholdSerializer(AmountShown):
    amount_of = "above"


class LowMarkSetSerializer(LimitSerializer):
    """Take the amount below which people are told; 0 tells nobody."""


class LowMarkSerializer(serializers.Serializer):
    """Show below what people are told, in its own unit; the other unit's fields are null."""

    asset = serializers.CharField()
    hours = HoursField(allow_null=True, help_text="Where the asset is GPU.")
    gpu_ms = serializers.IntegerField(allow_null=True, help_text="Where the asset is GPU.")
    amount_usd = UsdField(allow_null=True, help_text="Where the asset is USD.")
    amount_microusd = serializers.IntegerField(allow_null=True, help_text="Where the asset is USD.")
    is_own = serializers.BooleanField(help_text="The account's; else the platform's, until somebody says otherwise.")
    is_low = serializers.BooleanField(help_text="Less than that is there, and people were told.")

    def to_representation(self, standing: Any) -> dict[str, Any]:
        is_hours = standing.asset == "GPU"
        return {
            "asset": standing.asset,
            "hours": show_hours(standing.below) if is_hours else None,
            "gpu_ms": standing.below if is_hours else None,
            "amount_usd": None if is_hours else show_micro(standing.below),
            "amount_microusd": None if is_hours else standing.below,
            "is_own": standing.is_own,
            "is_low": standing.is_low,
        }


class RegistryLoginSetSerializer(StrictSerializer):
    """Take a log-in that can do nothing but pull: it is handed to each host that runs such a task."""

    server = serializers.RegexField(
        r"\A(localhost|[a-z0-9-]+(\.[a-z0-9-]+)+)(:[0-9]{1,5})?\Z",
        max_length=255,
        help_text="Such as ghcr.io, registry.example.org:5000, or docker.io.",
    )
    username = TextField(max_length=255)
    password = TextField(max_length=4096, trim_whitespace=False, write_only=True)


class RegistryLoginSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    account = serializers.UUIDField(source="account_id")
    server = serializers.CharField()
    username = serializers.CharField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
