"""People, and the groups that carry staff's permissions."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from unfold.decorators import action
from unfold.enums import ActionVariant
from unfold.forms import AdminPasswordChangeForm

from accounts.admin.forms import UserAddForm, UserForm
from accounts.models import User
from accounts.services import second_factor
from gaas.lib import clock
from gaas.lib.admin import LeanAdmin
from gaas.lib.reasons import OptionalReasonForm, verb_action

POWERS = ("is_staff", "is_superuser", "groups", "user_permissions")


@admin.register(User)
class UserAdmin(DjangoUserAdmin, LeanAdmin):
    """Show and change people. Nobody is deleted: balances and history stay, log-in is switched off."""

    form = UserForm
    add_form = UserAddForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("email", "name", "is_active", "is_staff", "is_superuser", "created_at", "last_login")
    list_filter = ("is_active", "is_staff", "is_superuser", "groups")
    search_fields = ("email__startswith", "name__startswith")
    search_help_text = "The beginning of an e-mail address in lower case, or of a name; or an id."
    ordering = LeanAdmin.ordering
    filter_horizontal = ("groups", "user_permissions")
    readonly_fields = ("personal_account", "email_verified_at", "last_login", "created_at", "updated_at")
    fieldsets = (
        (None, {"fields": ("email", "name", "personal_account")}),
        ("May", {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")}),
        ("When", {"fields": ("email_verified_at", "last_login", "created_at", "updated_at")}),
    )
    add_fieldsets = ((None, {"fields": ("email", "name", "usable_password", "password1", "password2")}),)
    actions = ("switch_off", "switch_on")
    actions_detail = ("new_password", "remove_second_factor", "switch_off", "switch_on")

    @action(description="Set a new password", icon="key", permissions=["change"])
    def new_password(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Lead to Django's own page for it; what was logged in by the old one is logged out."""
        return redirect("admin:auth_user_password_change", object_id)

    @verb_action(
        description="Switch off",
        done="switched off",
        permissions=["change"],
        icon="person_off",
        form=OptionalReasonForm,
        variant=ActionVariant.DANGER,
        applies=lambda user: user.is_active,
    )
    def switch_off(self, request: HttpRequest, user: User, data: dict[str, Any]) -> None:
        user.switch_off(by=request.user, reason=data["reason"], now=clock.now())

    @verb_action(
        description="Switch on",
        done="switched on",
        permissions=["change"],
        icon="person_check",
        form=OptionalReasonForm,
        applies=lambda user: not user.is_active,
    )
    def switch_on(self, request: HttpRequest, user: User, data: dict[str, Any]) -> None:
        user.switch_on(by=request.user, reason=data["reason"], now=clock.now())

    @verb_action(
        description="Remove the second factor",
        done="left without a second factor",
        permissions=["change"],
        icon="phonelink_erase",
        variant=ActionVariant.DANGER,
        applies=second_factor.is_set,
    )
    def remove_second_factor(self, request: HttpRequest, user: User, data: dict[str, Any]) -> None:
        second_factor.remove_all(user=user, by=request.user, now=clock.now())

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """Store the form; who is switched off by it is logged out, as by the button."""
        super().save_model(request, obj, form, change)
        if "is_active" in form.changed_data and not obj.is_active:
            obj.end_log_ins(now=clock.now())

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        """Keep who is no superuser from raising anybody, themselves included."""
        fields = tuple(super().get_readonly_fields(request, obj))
        return fields if request.user.is_superuser else (*fields, *POWERS)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Keep who is no superuser from other staff: a new password would be a way in."""
        if isinstance(obj, User) and obj != request.user and obj.is_above(request.user):
            return False
        return super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, LeanAdmin):
    """Bundle permissions for staff; only a superuser may, since whoever may could take all of them."""

    ordering = ("name",)
    search_fields = ("name__startswith",)
    when_empty = "A group bundles permissions, such as: can approve tasks. Staff get them by being in it."

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.is_superuser

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.is_superuser

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.is_superuser
