from payments.models.chain_intent import ChainIntent
from payments.models.charge import Charge
from payments.models.dispute import Dispute
from payments.models.event import PaymentEvent
from payments.models.event_in import WebhookEvent
from payments.models.payment import Payment
from payments.models.refund import Refund
from payments.models.review import Review

__all__ = ["ChainIntent", "Charge", "Dispute", "Payment", "PaymentEvent", "Refund", "Review", "WebhookEvent"]
