"""Contracts between accounts: either side proposes, both accept, each sees its periods."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import Prefetch, Q
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.models import Account
from gaas.lib import clock
from gaas.lib.rest.etag import ETagMixin
from gaas.lib.rest.filters import SparseFields
from gaas.outbox.api import Idempotent
from payments import services
from payments.api import contract_bodies as bodies
from payments.api.filters import ContractFilter
from payments.choices import ContractKind
from payments.models import Contract, ContractEvent, ContractPeriod
from payments.services import ContractWanted, TermsWanted


class ContractViewSet(Idempotent, ETagMixin, SparseFields, ListModelMixin, RetrieveModelMixin, GenericViewSet):
    """Contracts of the accounts that the caller belongs to, on either side."""

    queryset = Contract.objects.none()
    key_scope = "payments"
    lookup_value_regex = "[0-9a-f-]{36}"
    key_required_for = ("create",)
    serializer_class = bodies.ContractSerializer
    filterset_class = ContractFilter

    def get_queryset(self) -> Any:
        seen = Contract.objects.visible_to(self.request.user).select_related("payer", "payee")
        if self.action != "retrieve":
            return seen
        return seen.prefetch_related(Prefetch("events", ContractEvent.objects.order_by("id")))

    def get_serializer_class(self) -> type:
        own = {"create": bodies.ContractCreateSerializer, "retrieve": bodies.ContractDetailSerializer}
        return own.get(self.action) or super().get_serializer_class()

    @extend_schema(request=bodies.ContractCreateSerializer, responses={201: bodies.ContractSerializer})
    def create(self, request: Request, version: str) -> Response:
        """Propose a contract: the caller's side has accepted its terms, and the other side is asked."""
        body = self.read()
        data = body.validated_data
        payer = Account.objects.visible_to(request.user).named(data.get("payer"), by=request.user, attr="payer")
        contract = services.create_contract(
            ContractWanted(
                kind=data["kind"],
                title=data["title"],
                payer=payer,
                payee=self._payee(data["kind"], data["payee"], payer),
                starts_on=data.get("starts_on"),
                anchor_on=data.get("anchor_on"),
                interval=data["interval"],
                time_zone=data["time_zone"],
                is_draft=data["draft"],
            ),
            TermsWanted(**body.wanted),
            by=request.user,
            now=clock.now(),
        )
        return Response(bodies.ContractSerializer(contract).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=bodies.TermsProposeSerializer, responses=bodies.ContractSerializer)
    @action(detail=True, methods=["post"], serializer_class=bodies.TermsProposeSerializer)
    def propose(self, request: Request, version: str, pk: str) -> Response:
        """Send a draft, or put other terms on the table; those of a contract that runs begin with a period."""
        contract, body = self.get_object(), self.read()
        last = contract.terms.order_by("version").last()
        known = {name: getattr(last, name) for name in TermsWanted.__dataclass_fields__ if name != "asset"}
        terms = TermsWanted(**{**known, "asset": last.asset_id, **body.wanted})
        proposed = services.propose_terms(contract_id=contract.pk, terms=terms, by=request.user, now=clock.now())
        return self._one(proposed)

    @extend_schema(request=bodies.TermsAcceptSerializer, responses=bodies.ContractSerializer)
    @action(detail=True, methods=["post"], serializer_class=bodies.TermsAcceptSerializer)
    def accept(self, request: Request, version: str, pk: str) -> Response:
        """Say yes to the version of the terms that was read; when both sides did, it is binding."""
        contract, data = self.get_object(), self.body()
        return self._one(
            services.accept_terms(contract_id=contract.pk, version=data["version"], by=request.user, now=clock.now())
        )

    @extend_schema(request=bodies.TermsDeclineSerializer, responses=bodies.ContractSerializer)
    @action(detail=True, methods=["post"], serializer_class=bodies.TermsDeclineSerializer)
    def decline(self, request: Request, version: str, pk: str) -> Response:
        """Say no to the terms on the table, or take them back."""
        contract, data = self.get_object(), self.body()
        return self._one(services.decline(contract_id=contract.pk, by=request.user, now=clock.now(), **data))

    @extend_schema(request=bodies.ContractReasonSerializer, responses=bodies.ContractSerializer)
    @action(detail=True, methods=["post"], serializer_class=bodies.ContractReasonSerializer)
    def pause(self, request: Request, version: str, pk: str) -> Response:
        """Let no period begin until it is resumed."""
        return self._verb(services.pause_contract)

    @extend_schema(request=bodies.ContractReasonSerializer, responses=bodies.ContractSerializer)
    @action(detail=True, methods=["post"], serializer_class=bodies.ContractReasonSerializer)
    def resume(self, request: Request, version: str, pk: str) -> Response:
        """Go on after a pause or a suspension; its periods are left out or caught up, as the terms say."""
        return self._verb(services.resume_contract)

    @extend_schema(request=bodies.ContractReasonSerializer, responses=bodies.ContractSerializer)
    @action(detail=True, methods=["post"], serializer_class=bodies.ContractReasonSerializer)
    def cancel(self, request: Request, version: str, pk: str) -> Response:
        """End it with the period that runs, or take back what nobody accepted yet."""
        return self._verb(services.cancel_contract)

    @extend_schema(responses=bodies.ContractPeriodSerializer(many=True))
    @action(detail=True, serializer_class=bodies.ContractPeriodSerializer, filterset_class=None)
    def periods(self, request: Request, version: str, pk: str) -> Response:
        """List the periods that were processed, the last one first."""
        contract = self.get_object()
        rows = ContractPeriod.objects.filter(contract=contract).select_related("terms")
        page = self.paginate_queryset(rows)
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    def _verb(self, verb: Any) -> Response:
        contract, data = self.get_object(), self.body()
        return self._one(verb(contract_id=contract.pk, by=self.request.user, now=clock.now(), **data))

    def _one(self, contract: Contract) -> Response:
        return Response(bodies.ContractSerializer(contract).data)

    def _payee(self, kind: str, pk: UUID, payer: Account) -> Account:
        """Find the other account: one that is seen, or for a reservation one that offers the payer GPUs."""
        known = Account.objects.visible_to(self.request.user)
        if kind != ContractKind.RESERVATION:
            return known.named(pk, attr="payee")
        offered = services.owners_offering_to(payer)
        return Account.objects.filter(Q(pk__in=known.values("pk")) | Q(pk__in=offered)).named(pk, attr="payee")
