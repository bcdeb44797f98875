"""Bodies of accounts, in and out."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.choices import AccountKind, PaysFrom, QuotaRequestStatus, Role
from accounts.ledger.models import Transfer
from accounts.models import User
from accounts.services.hours import MAX_GRANT_MS
from gaas.lib.amounts import show_hours, show_micro
from gaas.lib.emails import check_email
from gaas.lib.rest.fields import HoursField, StrictBooleanField, TextField, UsdField
from gaas.lib.rest.serializers import StrictSerializer


class RegisterSerializer(StrictSerializer):
    email = serializers.EmailField(max_length=254, validators=[check_email])
    password = TextField(max_length=256, trim_whitespace=False, write_only=True, style={"input_type": "password"})
    name = TextField(max_length=150, allow_blank=True, default="")
    invitation = TextField(
        max_length=200, allow_blank=True, default="", help_text="The token of a letter that invited this address."
    )


class RegisteredSerializer(serializers.Serializer):
    email = serializers.EmailField()
    detail = serializers.CharField()


class EmailKeySerializer(StrictSerializer):
    """Take a letter's key; the form of the browsable page has the one of the link filled in."""

    key = TextField(max_length=1000)
    password = TextField(
        max_length=256,
        trim_whitespace=False,
        allow_blank=True,
        required=False,
        style={"input_type": "password"},
        help_text="The one that was chosen at the registration.",
    )
    new_password = TextField(
        max_length=256,
        trim_whitespace=False,
        allow_blank=True,
        required=False,
        style={"input_type": "password"},
        help_text="In its place, where somebody else registered the address: ends all that the old one set up.",
    )

    def get_initial(self) -> dict[str, Any]:
        request = self.context.get("request")
        if request is None or hasattr(self, "initial_data"):
            return super().get_initial()
        return {"key": request.query_params.get("key", "")}


class LogInSerializer(StrictSerializer):
    email = TextField(max_length=254)
    password = TextField(max_length=256, trim_whitespace=False, style={"input_type": "password"})
    otp = TextField(
        max_length=64,
        allow_blank=True,
        required=False,
        help_text="The code of the authenticator app, or a recovery code, where a second factor is set.",
    )


class LogOutSerializer(StrictSerializer):
    refresh = TextField(max_length=4096)
    everywhere = StrictBooleanField(default=True, help_text="False ends this log-in alone.")


class ResetSerializer(StrictSerializer):
    email = serializers.EmailField(max_length=254, validators=[check_email])


class ResetConfirmSerializer(StrictSerializer):
    uid = TextField(max_length=64)
    token = TextField(max_length=128)
    new_password = TextField(max_length=256, trim_whitespace=False, style={"input_type": "password"})
    revoke_keys = StrictBooleanField(default=False, help_text="True revokes every API key of the user, too.")


class ChangePasswordSerializer(StrictSerializer):
    current_password = TextField(max_length=256, trim_whitespace=False, style={"input_type": "password"})
    new_password = TextField(max_length=256, trim_whitespace=False, style={"input_type": "password"})
    revoke_keys = StrictBooleanField(default=False, help_text="True revokes every API key of the user, too.")


class GoogleSerializer(StrictSerializer):
    code = TextField(max_length=2048, required=False, help_text="Of the authorization code flow; good once.")
    id_token = TextField(max_length=8192, required=False, help_text="In place of a code; good once, too.")
    nonce = TextField(max_length=200, required=False, help_text="What the client sent along, if it did.")
    redirect_uri = TextField(max_length=500, required=False, help_text="Where the code was sent to, by default here.")
    code_verifier = TextField(max_length=128, required=False, help_text="Of PKCE, if the client used it.")
    otp = TextField(max_length=64, allow_blank=True, required=False, help_text="Where a second factor is set.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("code" in attrs) == ("id_token" in attrs):
            raise serializers.ValidationError({"code": "Give either a code or an id_token."}, "required")
        return attrs


class DetailSerializer(serializers.Serializer):
    detail = serializers.CharField()


class TokenPairSerializer(serializers.Serializer):
    access = serializers.CharField()
    refresh = serializers.CharField()


class RefreshSerializer(StrictSerializer):
    refresh = TextField(max_length=4096)


class VerifySerializer(StrictSerializer):
    token = TextField(max_length=4096)


class VerifiedSerializer(serializers.Serializer):
    token_type = serializers.ChoiceField(choices=["access", "refresh"])


class UserSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    email = serializers.EmailField()
    name = serializers.CharField()
    is_staff = serializers.BooleanField()
    email_verified_at = serializers.DateTimeField(allow_null=True)
    personal_account = serializers.UUIDField(source="personal_account.pk")
    created_at = serializers.DateTimeField()


class PersonSerializer(UserSerializer):
    """Show somebody to staff, with what the view's queryset annotates."""

    is_active = serializers.BooleanField()
    is_superuser = serializers.BooleanField()
    groups = serializers.SerializerMethodField()
    has_second_factor = serializers.BooleanField()
    last_login = serializers.DateTimeField(allow_null=True)

    def get_groups(self, user: User) -> list[str]:
        return sorted(group.name for group in user.groups.all())


class UserReasonSerializer(StrictSerializer):
    reason = TextField(max_length=2000, lines=True)


class UserPatchSerializer(StrictSerializer):
    name = TextField(max_length=150, allow_blank=True, required=False)


class AccountSerializer(serializers.Serializer):
    """Show an account to which the view gave `balances`, `storage` and `role`, read for a whole page at once."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    kind = serializers.ChoiceField(choices=AccountKind.choices)
    parent = serializers.UUIDField(source="parent_id", allow_null=True)
    pays_from = serializers.ChoiceField(choices=PaysFrom.choices)
    role = serializers.ChoiceField(choices=Role.choices, allow_null=True, help_text="What the caller may do here.")
    hours_available = HoursField(source="balances.hours_available")
    available_gpu_ms = serializers.IntegerField(source="balances.hours_available")
    hours_held = HoursField(source="balances.hours_held")
    held_gpu_ms = serializers.IntegerField(source="balances.hours_held")
    wallet_available_usd = UsdField(source="balances.wallet_available")
    wallet_available_microusd = serializers.IntegerField(source="balances.wallet_available")
    wallet_held_usd = UsdField(source="balances.wallet_held")
    wallet_held_microusd = serializers.IntegerField(source="balances.wallet_held")
    storage_used_bytes = serializers.IntegerField(source="storage.used", help_text="What its files take.")
    storage_quota_bytes = serializers.IntegerField(source="storage.quota", help_text="What they may take.")
    created_at = serializers.DateTimeField()
    closed_at = serializers.DateTimeField(allow_null=True)


class TransferSerializer(serializers.Serializer):
    """Show a movement as the account of the context's `balance_ids` sees it; amounts are never negative."""

    id = serializers.UUIDField()
    kind = serializers.CharField()
    asset = serializers.CharField(source="asset_id")
    direction = serializers.SerializerMethodField(help_text="IN, OUT, or WITHIN the account.")
    hours = serializers.SerializerMethodField(help_text="Where the asset is GPU.")
    gpu_ms = serializers.SerializerMethodField(help_text="Where the asset is GPU.")
    amount_usd = serializers.SerializerMethodField(help_text="Where the asset is USD.")
    amount_microusd = serializers.SerializerMethodField(help_text="Where the asset is USD.")
    ref = serializers.CharField()
    memo = serializers.CharField()
    group = serializers.CharField()
    reverses = serializers.UUIDField(source="reverses_id", allow_null=True)
    effective_at = serializers.DateTimeField()
    created_at = serializers.DateTimeField()

    @extend_schema_field(serializers.ChoiceField(choices=["IN", "OUT", "WITHIN"]))
    def get_direction(self, transfer: Transfer) -> str:
        own = self.context["balance_ids"]
        if transfer.debit_id in own:
            return "WITHIN" if transfer.credit_id in own else "OUT"
        return "IN"

    @extend_schema_field(HoursField(allow_null=True))
    def get_hours(self, transfer: Transfer) -> str | None:
        return show_hours(transfer.amount) if transfer.asset_id == "GPU" else None

    def get_gpu_ms(self, transfer: Transfer) -> int | None:
        return transfer.amount if transfer.asset_id == "GPU" else None

    @extend_schema_field(UsdField(allow_null=True))
    def get_amount_usd(self, transfer: Transfer) -> str | None:
        return show_micro(transfer.amount) if transfer.asset_id == "USD" else None

    def get_amount_microusd(self, transfer: Transfer) -> int | None:
        return transfer.amount if transfer.asset_id == "USD" else None


class QuotaRequestSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    account = serializers.UUIDField(source="account_id")
    requested_by = serializers.UUIDField(source="requested_by_id")
    hours = HoursField(source="gpu_ms")
    gpu_ms = serializers.IntegerField()
    reason = serializers.CharField()
    status = serializers.ChoiceField(choices=QuotaRequestStatus.choices)
    hours_granted = HoursField(source="granted_ms", allow_null=True)
    granted_gpu_ms = serializers.IntegerField(source="granted_ms", allow_null=True)
    decided_by = serializers.UUIDField(source="decided_by_id", allow_null=True)
    decided_at = serializers.DateTimeField(allow_null=True)
    decision_reason = serializers.CharField()
    created_at = serializers.DateTimeField()


class QuotaRequestCreateSerializer(StrictSerializer):
    account = serializers.UUIDField(required=False, help_text="The caller's personal account where left out.")
    hours = HoursField(most=MAX_GRANT_MS)
    reason = TextField(max_length=2000, lines=True)


class QuotaRequestApproveSerializer(StrictSerializer):
    hours = HoursField(most=MAX_GRANT_MS, required=False, help_text="All that was asked for where left out.")
    reason = TextField(max_length=2000, lines=True, allow_blank=True, default="")


class QuotaRequestRejectSerializer(StrictSerializer):
    reason = TextField(max_length=2000, lines=True)
