from accounts.models.account import Account
from accounts.models.api_key import ApiKey
from accounts.models.budget_alert import BudgetAlert
from accounts.models.invitation import Invitation
from accounts.models.limits import ApprovalThreshold, CapRule
from accounts.models.low_mark import LowMark
from accounts.models.membership import Membership
from accounts.models.quota_request import QuotaRequest
from accounts.models.registry_login import RegistryLogin
from accounts.models.storage_use import StorageUse
from accounts.models.token_family import TokenFamily
from accounts.models.user import User

__all__ = [
    "Account",
    "ApiKey",
    "ApprovalThreshold",
    "BudgetAlert",
    "CapRule",
    "Invitation",
    "LowMark",
    "Membership",
    "QuotaRequest",
    "RegistryLogin",
    "StorageUse",
    "TokenFamily",
    "User",
]
