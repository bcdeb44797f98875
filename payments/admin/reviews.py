from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.enums import ActionVariant

from gaas.lib import clock
from gaas.lib.admin import ViewOnlyAdmin
from gaas.lib.amounts import show_micro
from gaas.lib.reasons import verb_action
from payments import services
from payments.admin import looks
from payments.admin.forms import ResolveForm
from payments.choices import ReviewStatus
from payments.models import Review


@admin.register(Review)
class ReviewAdmin(ViewOnlyAdmin):
    """Decide about money and events that fit no rule."""

    list_display = ("code", "detail", "provider", "waiting", "payment", "state", "created_at")
    list_filter = ("status", "provider")
    list_select_related = ("payment__account",)
    search_fields = ("key__exact",)
    search_help_text = "An id."
    fields = (
        ("code", "provider"),
        "detail",
        ("payment", "waiting"),
        "told",
        ("status", "outcome"),
        ("resolved_by", "resolved_at"),
        "resolution",
    )
    readonly_fields = ("waiting", "told", "status")
    when_empty = "Nothing waits here. What comes in and fits no payment will."
    actions_detail = ("resolve",)

    @verb_action(
        description="Resolve",
        done="resolved",
        form=ResolveForm,
        permissions=["resolve"],
        icon="check",
        variant=ActionVariant.SUCCESS,
        applies=lambda review: review.status == ReviewStatus.OPEN,
    )
    def resolve(self, request: HttpRequest, review: Review, data: dict[str, Any]) -> None:
        services.resolve(
            review=review, outcome=data["outcome"], resolution=data["resolution"], by=request.user, now=clock.now()
        )

    @display(description="Waits in suspense, USD")
    def waiting(self, review: Review) -> str:
        return show_micro(review.in_suspense)

    @display(description="What the provider said")
    def told(self, review: Review) -> SafeString:
        return format_html("<pre>{}</pre>", json.dumps(review.facts, indent=2, ensure_ascii=False))

    @display(description="Status", label=looks.REVIEW)
    def state(self, review: Review) -> tuple[str, str]:
        return review.status, review.get_status_display()

    def has_resolve_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("payments.change_review")
