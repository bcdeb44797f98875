"""How the API's document is made by drf-spectacular."""

from __future__ import annotations

SETTINGS = {
    "TITLE": "GaaS",
    "DESCRIPTION": "GPU-as-a-Service: quote, submit, approve, run and account for GPU work.",
    "VERSION": "1.0.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    # Without null Swagger shows a badge of a validator elsewhere. Its parts begin closed: of a list as long as ours it
    # would draw only what is on the screen.
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "validatorUrl": None, "docExpansion": "none"},
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "SCHEMA_PATH_PREFIX": r"/api/v[0-9]",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_ADD_EXPLICIT_BLANK_NULL_CHOICE": False,
    "ENUM_NAME_OVERRIDES": {
        "AccountKindEnum": "accounts.choices.AccountKind",
        "CapPeriodEnum": "accounts.choices.CapPeriod",
        "QuotaRequestStatusEnum": "accounts.choices.QuotaRequestStatus",
        "RoleEnum": "accounts.choices.Role",
        "HostStatusEnum": "gpus.choices.HostStatus",
        "GPUStatusEnum": "gpus.choices.GPUStatus",
        "TaskStatusEnum": "tasks.choices.TaskStatus",
        "AttemptStatusEnum": "tasks.choices.AttemptStatus",
        "StepStatusEnum": "tasks.choices.StepStatus",
        "StepKindEnum": "tasks.choices.StepKind",
        "PaymentStatusEnum": "payments.choices.PaymentStatus",
        "PayoutStatusEnum": "payments.choices.PayoutStatus",
        "ProviderEnum": "payments.choices.Provider",
        "RefundStatusEnum": "payments.choices.RefundStatus",
        "StatementKindEnum": "payments.choices.StatementKind",
        "DeliveryStatusEnum": "gaas.outbox.choices.DeliveryStatus",
        "ContractStatusEnum": "payments.choices.ContractStatus",
        "ContractKindEnum": "payments.choices.ContractKind",
        "PeriodStatusEnum": "payments.choices.PeriodStatus",
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "gaas.lib.rest.schema.declare_refusals",
    ],
}
