"""Who may do what they see."""

from __future__ import annotations

from typing import Any

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request


class DecidesQuotaRequests(BasePermission):
    """Allow those who hold the permission; being staff alone is not enough.

    Asked of the object, so that whoever does not see it gets 404 first.
    """

    message = "Deciding on quota requests takes the permission to change them."

    def has_object_permission(self, request: Request, view: Any, obj: Any) -> bool:
        return bool(request.user.has_perm("accounts.change_quotarequest"))


class SeesToUsers(BasePermission):
    """Allow changes to those who hold the permission; being staff alone is not enough.

    Asked of the object, so that whoever does not see it gets 404 first.
    """

    message = "Changing users takes the permission to change them."

    def has_object_permission(self, request: Request, view: Any, obj: Any) -> bool:
        return request.method in SAFE_METHODS or bool(request.user.has_perm("accounts.change_user"))
