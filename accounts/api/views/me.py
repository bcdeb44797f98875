from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.serializers import UserPatchSerializer, UserSerializer
from gaas.lib.rest.bodies import ReadsBody
from gaas.lib.rest.filters import StrictQuery


class MeView(ReadsBody, StrictQuery, GenericAPIView):
    serializer_class = UserPatchSerializer
    key_scope = "accounts"
    pagination_class = None
    filter_backends = ()

    @extend_schema(operation_id="users_me", responses=UserSerializer)
    def get(self, request: Request, version: str) -> Response:
        """Show the caller."""
        return Response(UserSerializer(request.user).data)

    @extend_schema(operation_id="users_me_update", responses=UserSerializer)
    def patch(self, request: Request, version: str) -> Response:
        """Change the caller's name."""
        user, data = request.user, self.body()
        if "name" in data:
            user.name = data["name"]
            user.save(update_fields=["name", "updated_at"])
        return Response(UserSerializer(user).data)
