from __future__ import annotations

from typing import Any

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request


class RunsIt(BasePermission):
    """Let everybody who sees a host or GPU read it, and its managers and permitted staff change it."""

    message = "Managers and owners of the host's account can do this, and staff with the permission."

    def has_object_permission(self, request: Request, view: Any, obj: Any) -> bool:
        return request.method in SAFE_METHODS or obj.may_be_run_by(request.user)


class ListsIt(BasePermission):
    """Let also those try to list a GPU who list others' for the first time; the verb knows which time it is."""

    message = RunsIt.message

    def has_object_permission(self, request: Request, view: Any, obj: Any) -> bool:
        return (request.user.is_staff and request.user.has_perm("gpus.list_gpu")) or obj.may_be_run_by(request.user)


class SeesInside(BasePermission):
    """Let the people of the host's account read what its GPUs measure, and permitted staff."""

    message = "Members of the host's account can read this, and staff with the permission."

    def has_object_permission(self, request: Request, view: Any, obj: Any) -> bool:
        may_view = request.user.is_staff and request.user.has_perm("gpus.view_gpu")
        return may_view or obj.host.account.role_of(request.user) is not None
