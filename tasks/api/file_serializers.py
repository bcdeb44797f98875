"""Bodies of uploads, inputs and results, in and out."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ValidationError

from gaas.lib.rest.fields import StrictIntegerField, TextField
from gaas.lib.rest.serializers import StrictSerializer
from tasks.choices import FileStatus

SHA256 = r"\A[0-9a-f]{64}\Z"


class Sha256Field(serializers.RegexField):
    """A SHA-256 in lower-case hexadecimal digits."""

    default_error_messages = {"invalid": "Give the SHA-256 as 64 lower-case hexadecimal digits."}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(SHA256, **kwargs)


class UploadInput(StrictSerializer):
    name = TextField(max_length=512, help_text="A relative path such as data/train.csv.")
    size = StrictIntegerField(min_value=0, max_value=2**53, help_text="Bytes; they count on the account from now on.")
    sha256 = Sha256Field(required=False, default="", allow_blank=True, help_text="What the bytes must have.")
    account = serializers.UUIDField(required=False, help_text="Whose it is; left out: your personal account.")


class CompleteInput(StrictSerializer):
    sha256 = Sha256Field(required=False, default="", allow_blank=True)


class SentOutput(serializers.Serializer):
    offset = serializers.IntegerField(help_text="How many bytes are here: go on from there.")


class UploadOutput(serializers.Serializer):
    id = serializers.UUIDField()
    name = serializers.CharField()
    account = serializers.UUIDField(source="account_id")
    uploaded_by = serializers.CharField(source="uploaded_by.email")
    status = serializers.ChoiceField(FileStatus.choices, source="file.status")
    size = serializers.IntegerField(source="file.size")
    offset = serializers.IntegerField(source="file.received", help_text="How many bytes are here: go on from there.")
    sha256 = serializers.CharField(source="file.sha256")
    created_at = serializers.DateTimeField()
    completed_at = serializers.DateTimeField(source="file.completed_at", allow_null=True)
    expires_at = serializers.DateTimeField(source="file.due_at", help_text="Removed then, if no live task needs it.")


class ArtifactOutput(serializers.Serializer):
    id = serializers.UUIDField()
    name = serializers.CharField()
    attempt = serializers.UUIDField(source="attempt_id")
    size = serializers.IntegerField(source="file.size")
    sha256 = serializers.CharField(source="file.sha256")
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(source="file.due_at", help_text="Removed then, if no live task needs it.")


class InputFile(StrictSerializer):
    """A file that the program finds in $GAAS_INPUT: an upload, or what another task left."""

    upload = serializers.UUIDField(required=False)
    task = serializers.UUIDField(required=False, help_text="A task that you see, with `artifact`.")
    artifact = TextField(max_length=512, required=False, help_text="The name of a result of that task.")

    def get_fields(self) -> dict[str, Any]:
        fields = super().get_fields()
        # A word of the language, so it cannot stand among the others.
        fields["as"] = TextField(
            max_length=512, required=False, default="", source="path", help_text="Path in $GAAS_INPUT; its own name."
        )
        return fields

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("upload" in attrs) == ("task" in attrs) or ("task" in attrs) != ("artifact" in attrs):
            raise ValidationError("Give either `upload`, or `task` and `artifact`.")
        return attrs


class GivenFile(serializers.Serializer):
    """A file that the task was given, and whence it came."""

    path = serializers.CharField(help_text="In $GAAS_INPUT.")
    size = serializers.IntegerField()
    sha256 = serializers.CharField()
    upload = serializers.UUIDField(default=None, allow_null=True)
    task = serializers.UUIDField(default=None, allow_null=True)
    artifact = serializers.CharField(default=None, allow_null=True)
