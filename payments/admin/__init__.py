from payments.admin import charges, disputes, payments, refunds, reviews

__all__ = ["charges", "disputes", "payments", "refunds", "reviews"]
