from accounts.admin.accounts import AccountAdmin
from accounts.admin.api_keys import ApiKeyAdmin
from accounts.admin.families import (
    ApprovalThresholdAdmin,
    BudgetAlertAdmin,
    CapRuleAdmin,
    InvitationAdmin,
    LowMarkAdmin,
)
from accounts.admin.log_in_failures import LogInFailureAdmin
from accounts.admin.quota_requests import QuotaRequestAdmin
from accounts.admin.registry_logins import RegistryLoginAdmin
from accounts.admin.token_families import TokenFamilyAdmin
from accounts.admin.users import GroupAdmin, UserAdmin
from accounts.admin.webhooks import WebhookAdmin, WebhookDeliveryAdmin

__all__ = [
    "AccountAdmin",
    "ApiKeyAdmin",
    "ApprovalThresholdAdmin",
    "BudgetAlertAdmin",
    "CapRuleAdmin",
    "GroupAdmin",
    "InvitationAdmin",
    "LogInFailureAdmin",
    "LowMarkAdmin",
    "QuotaRequestAdmin",
    "RegistryLoginAdmin",
    "TokenFamilyAdmin",
    "UserAdmin",
    "WebhookAdmin",
    "WebhookDeliveryAdmin",
]
