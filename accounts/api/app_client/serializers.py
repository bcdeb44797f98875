"""Bodies of allauth's protocol for apps, in and out; its names are kept."""

from __future__ import annotations

from rest_framework import serializers

from gaas.lib.rest.fields import StrictIntegerField, TextField
from gaas.lib.rest.serializers import StrictSerializer

MOST_KEYS = 50


class AppLogInSerializer(StrictSerializer):
    email = serializers.EmailField(max_length=254)
    password = TextField(max_length=256, trim_whitespace=False, style={"input_type": "password"})


class AppPasswordSerializer(StrictSerializer):
    password = TextField(max_length=256, trim_whitespace=False, style={"input_type": "password"})


class AppCodeSerializer(StrictSerializer):
    code = TextField(max_length=64, help_text="Of the authenticator app, or a recovery code.")


class AppCredentialSerializer(StrictSerializer):
    credential = serializers.DictField(help_text="What navigator.credentials.get() gave, as JSON.")


class AppKeyAddSerializer(StrictSerializer):
    name = TextField(max_length=100, required=False, allow_blank=True)
    credential = serializers.DictField(help_text="What navigator.credentials.create() gave, as JSON.")


class AppKeyRenameSerializer(StrictSerializer):
    id = StrictIntegerField(min_value=1, max_value=2**63 - 1)
    name = TextField(max_length=100)


class AppKeysRemoveSerializer(StrictSerializer):
    authenticators = serializers.ListField(
        child=StrictIntegerField(min_value=1, max_value=2**63 - 1), min_length=1, max_length=MOST_KEYS
    )


class AppRefreshSerializer(StrictSerializer):
    refresh_token = TextField(max_length=4096)


class AppFlowSerializer(serializers.Serializer):
    id = serializers.CharField(help_text="login, mfa_authenticate, reauthenticate or mfa_reauthenticate.")
    is_pending = serializers.BooleanField(required=False)
    types = serializers.ListField(child=serializers.CharField(), required=False)


class AppFlowsSerializer(serializers.Serializer):
    flows = AppFlowSerializer(many=True)


class AppUserSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    display = serializers.CharField()
    email = serializers.EmailField()
    has_usable_password = serializers.BooleanField()


class AppWhoSerializer(serializers.Serializer):
    user = AppUserSerializer()
    methods = serializers.ListField(child=serializers.DictField())


class AppMetaSerializer(serializers.Serializer):
    is_authenticated = serializers.BooleanField()
    session_token = serializers.CharField(required=False, help_text="Of the flow: send it as X-Session-Token.")
    access_token = serializers.CharField(required=False, help_text="As `access` of auth/token.")
    refresh_token = serializers.CharField(required=False, help_text="As `refresh` of auth/token.")


class AppLoggedInSerializer(serializers.Serializer):
    status = serializers.IntegerField()
    data = AppWhoSerializer()
    meta = AppMetaSerializer()


class AppAnswerSerializer(serializers.Serializer):
    """Show what allauth's protocol says of one thing."""

    status = serializers.IntegerField()
    data = serializers.DictField(required=False)
    meta = serializers.DictField(required=False)


class AppListSerializer(serializers.Serializer):
    status = serializers.IntegerField()
    data = serializers.ListField(child=serializers.DictField())


class AppRefreshedDataSerializer(serializers.Serializer):
    access_token = serializers.CharField()
    refresh_token = serializers.CharField()


class AppRefreshedSerializer(serializers.Serializer):
    status = serializers.IntegerField()
    data = AppRefreshedDataSerializer()


class AppErrorSerializer(serializers.Serializer):
    code = serializers.CharField()
    detail = serializers.CharField()
    attr = serializers.CharField(allow_null=True)


class AppRefusedSerializer(serializers.Serializer):
    """Refuse in the one shape, and beside it in allauth's."""

    type = serializers.CharField()
    errors = AppErrorSerializer(many=True)
    request_id = serializers.CharField()
    status = serializers.IntegerField(required=False)


class AppNewAppSerializer(serializers.Serializer):
    secret = serializers.CharField(help_text="For the app, in base 32.")
    totp_url = serializers.CharField(help_text="The same as an address, for a QR code.")


class AppAbsentSerializer(AppRefusedSerializer):
    """Say that there is no authenticator app, and what one is set up with."""

    meta = AppNewAppSerializer(required=False)


class AppPendingSerializer(AppRefusedSerializer):
    """Say which step is wanted next."""

    data = AppFlowsSerializer(required=False)
    meta = AppMetaSerializer(required=False)
