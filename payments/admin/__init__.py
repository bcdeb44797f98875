from payments.admin import charges, contracts, destinations, disputes, payments, payouts, refunds, reviews, statements

__all__ = [
    "charges",
    "contracts",
    "destinations",
    "disputes",
    "payments",
    "payouts",
    "refunds",
    "reviews",
    "statements",
]
