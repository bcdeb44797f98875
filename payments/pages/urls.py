"""Pages of an account's money, under /accounts/<id>/."""

from __future__ import annotations

from django.urls import path

from payments.pages import contracts, earnings, reports, statements, wallet

urlpatterns = [
    path("<uuid:pk>/contracts/", contracts.Contracts.as_view(), name="account_contracts"),
    path("<uuid:pk>/contracts/<uuid:contract_id>/", contracts.OneContract.as_view(), name="account_contract"),
    path("<uuid:pk>/earnings/", earnings.EarningsPage.as_view(), name="account_earnings"),
    path("<uuid:pk>/reports/", reports.Reports.as_view(), name="account_reports"),
    path("<uuid:pk>/statements/", statements.Statements.as_view(), name="account_statements"),
    path("<uuid:pk>/statements/<uuid:statement_id>/", statements.OneStatement.as_view(), name="account_statement"),
    path("<uuid:pk>/wallet/", wallet.Wallet.as_view(), name="account_wallet"),
    path("<uuid:pk>/wallet/payments/", wallet.Payments.as_view(), name="account_payments"),
    path("<uuid:pk>/wallet/payments/<uuid:payment_id>/", wallet.OnePayment.as_view(), name="account_payment"),
]
