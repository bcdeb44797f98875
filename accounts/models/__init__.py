from accounts.models.account import Account
from accounts.models.membership import Membership
from accounts.models.quota_request import QuotaRequest
from accounts.models.token_family import TokenFamily
from accounts.models.user import User

__all__ = ["Account", "Membership", "QuotaRequest", "TokenFamily", "User"]
