from payments.models.chain_intent import ChainIntent
from payments.models.charge import Charge
from payments.models.contract import Contract
from payments.models.contract_event import ContractEvent, ContractPause
from payments.models.contract_terms import ContractPeriod, ContractTerms
from payments.models.dispute import Dispute
from payments.models.event import PaymentEvent
from payments.models.event_in import WebhookEvent
from payments.models.payment import Payment
from payments.models.payout import Payout
from payments.models.payout_destination import PayoutDestination
from payments.models.payout_event import PayoutEvent
from payments.models.refund import Refund
from payments.models.review import Review
from payments.models.sent_transaction import SentTransaction
from payments.models.statement import Statement, StatementBalance

__all__ = [
    "ChainIntent",
    "Charge",
    "Contract",
    "ContractEvent",
    "ContractPause",
    "ContractPeriod",
    "ContractTerms",
    "Dispute",
    "Payment",
    "PaymentEvent",
    "Payout",
    "PayoutDestination",
    "PayoutEvent",
    "Refund",
    "Review",
    "SentTransaction",
    "Statement",
    "StatementBalance",
    "WebhookEvent",
]
