"""The verbs of money that comes in, goes back and is paid out. Amounts are micro-dollars."""

from payments.services.agree import (
    MOST,
    BadTerms,
    ContractWanted,
    TermsChanged,
    TermsWanted,
    accept_terms,
    create_contract,
    decline,
    owners_offering_to,
    propose_terms,
)
from payments.services.begin import AmountOutOfBounds, apply, cancel_payment, follow, start_payment
from payments.services.chain import claim_transaction
from payments.services.contract_calendar import month_of
from payments.services.contract_legs import bucket_of, left_of
from payments.services.contract_letters import sides_of
from payments.services.contract_tick import end_no, gives_hours, terms_for, terms_in_force, tick, tick_all
from payments.services.credit import Arrived, credit
from payments.services.debts import owed_by
from payments.services.destinations import add_destination, retire_destination
from payments.services.disputes import close_dispute, open_dispute
from payments.services.earnings import mature, mature_all
from payments.services.inbox import keep_event, process_event
from payments.services.manual import (
    OwnDraft,
    approve_payment,
    confirm_payment,
    record_payment,
    reject_payment,
)
from payments.services.payout_by_hand import begin_sending, give_up_payout, note_payout_sent
from payments.services.payout_sending import look_back, note_payout_returned, send_payout
from payments.services.payout_settling import settle_payout
from payments.services.payouts import (
    AccountOwes,
    DestinationTooNew,
    FeeExceedsAmount,
    NotEarned,
    OwnPayout,
    approve_payout,
    cancel_payout,
    earnings_of,
    payout_fee,
    reject_payout,
    request_payout,
)
from payments.services.reconcile import Compared, reconcile
from payments.services.references import ReferenceUsed
from payments.services.refunds import (
    OwnRefund,
    RefundTooLarge,
    apply_refund,
    approve_refund,
    cancel_refund,
    fail_refund,
    note_foreign_refund,
    note_sent,
    request_refund,
    send_refund,
    settle_refund,
)
from payments.services.reviews import ask, resolve
from payments.services.steer import cancel_contract, pause_contract, resume_contract
from payments.services.sweep import expire_payment, sweep

__all__ = [
    "MOST",
    "AccountOwes",
    "AmountOutOfBounds",
    "Arrived",
    "BadTerms",
    "Compared",
    "ContractWanted",
    "DestinationTooNew",
    "FeeExceedsAmount",
    "NotEarned",
    "OwnDraft",
    "OwnPayout",
    "OwnRefund",
    "ReferenceUsed",
    "RefundTooLarge",
    "TermsChanged",
    "TermsWanted",
    "accept_terms",
    "add_destination",
    "apply",
    "apply_refund",
    "approve_payment",
    "approve_payout",
    "approve_refund",
    "ask",
    "begin_sending",
    "bucket_of",
    "cancel_contract",
    "cancel_payment",
    "cancel_payout",
    "cancel_refund",
    "claim_transaction",
    "close_dispute",
    "confirm_payment",
    "create_contract",
    "credit",
    "decline",
    "earnings_of",
    "end_no",
    "expire_payment",
    "fail_refund",
    "follow",
    "give_up_payout",
    "gives_hours",
    "keep_event",
    "left_of",
    "look_back",
    "mature",
    "mature_all",
    "month_of",
    "note_foreign_refund",
    "note_payout_returned",
    "note_payout_sent",
    "note_sent",
    "open_dispute",
    "owed_by",
    "owners_offering_to",
    "pause_contract",
    "payout_fee",
    "process_event",
    "propose_terms",
    "reconcile",
    "record_payment",
    "reject_payment",
    "reject_payout",
    "request_payout",
    "request_refund",
    "resolve",
    "resume_contract",
    "retire_destination",
    "send_payout",
    "send_refund",
    "settle_payout",
    "settle_refund",
    "sides_of",
    "start_payment",
    "sweep",
    "terms_for",
    "terms_in_force",
    "tick",
    "tick_all",
]
