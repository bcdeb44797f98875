"""Statements of ended months: JSON, and as files CSV and PDF."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.generics import GenericAPIView, get_object_or_404
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.viewsets import GenericViewSet

from gaas.lib import csv_cells
from gaas.lib.rest.bytes import download
from gaas.lib.rest.etag import ETagMixin
from gaas.lib.rest.filters import SparseFields, StrictQuery
from payments.api.filters import StatementFilter
from payments.api.reports import CSVRenderer
from payments.api.statement_serializers import StatementDetailSerializer, StatementSerializer
from payments.models import Statement
from payments.services.statements import lines_of, movements_of
from payments.statement_pdf import MOST_LINES, statement_pdf
from payments.statement_rows import csv_rows


class PDFRenderer(BaseRenderer):
    """Let `Accept: application/pdf` be asked for; the view gives the bytes itself."""

    media_type = "application/pdf"
    format = "pdf"
    charset = None
    render_style = "binary"

    def render(self, data: Any, accepted_media_type: Any = None, renderer_context: Any = None) -> bytes:
        """Write a refusal, which is no document, as JSON."""
        return JSONRenderer().render(data)


class StatementViewSet(ETagMixin, SparseFields, ListModelMixin, RetrieveModelMixin, GenericViewSet):
    """Monthly statements of the accounts that the caller belongs to, the newest first."""

    queryset = Statement.objects.none()
    key_scope = "payments"
    lookup_value_regex = "[0-9a-f-]{36}"
    serializer_class = StatementSerializer
    filterset_class = StatementFilter

    def get_queryset(self) -> Any:
        seen = Statement.objects.visible_to(self.request.user)
        return seen.select_related("account").prefetch_related("balances")

    def get_serializer_class(self) -> type:
        return StatementDetailSerializer if self.action == "retrieve" else StatementSerializer

    def get_object(self) -> Statement:
        statement: Statement = super().get_object()
        statement.movements = movements_of(statement, statement.balances.all())
        return statement


class OneStatement(StrictQuery, GenericAPIView):
    """One statement as a file."""

    queryset = Statement.objects.none()
    key_scope = "payments"
    filter_backends = ()
    pagination_class = None

    def statement(self, pk: UUID) -> Statement:
        seen = Statement.objects.visible_to(self.request.user).select_related("account")
        return get_object_or_404(seen.prefetch_related("balances"), pk=pk)


class StatementCSVView(OneStatement):
    """Every movement of a month with exact integers."""

    renderer_classes = (CSVRenderer, JSONRenderer)

    @extend_schema(operation_id="statements_csv", responses={(200, "text/csv"): OpenApiTypes.STR})
    def get(self, request: Request, version: str, pk: UUID) -> HttpResponseBase:
        """Download what each balance opened with, every transfer, and what it closed with."""
        statement = self.statement(pk)
        balances = statement.balances.all()
        rows = csv_rows(balances, lines_of(statement, balances))
        answer = StreamingHttpResponse(csv_cells.lines(rows), content_type="text/csv; charset=utf-8")
        answer["Content-Disposition"] = f'attachment; filename="{statement.file_name}.csv"'
        answer["X-Content-Type-Options"] = "nosniff"
        return answer


class StatementPDFView(OneStatement):
    """A month as a document."""

    renderer_classes = (PDFRenderer, JSONRenderer)

    @extend_schema(operation_id="statements_pdf", responses={(200, "application/pdf"): OpenApiTypes.BINARY})
    def get(self, request: Request, version: str, pk: UUID) -> HttpResponseBase:
        """Download the statement as a document; of a month with very many transfers it has the sums alone."""
        statement = self.statement(pk)
        balances = list(statement.balances.all())
        count = sum(row.arrivals + row.departures for row in balances if row.balance_id is not None)
        document = statement_pdf(
            statement,
            balances=balances,
            movements=movements_of(statement, balances),
            lines=lines_of(statement, balances) if count <= MOST_LINES else (),
            count=count,
        )
        return download(HttpResponse(document, content_type="application/pdf"), f"{statement.file_name}.pdf")
