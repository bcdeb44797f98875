"""Pause, resume and cancel a contract. What a period's second began with is owed, whoever is quicker."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from accounts.models import User
from gaas.lib.errors import Conflict, NotAllowed
from gaas.lib.retry import retried
from payments.choices import ContractStatus, Side
from payments.models import Contract, ContractPause
from payments.services.agree import decline
from payments.services.contract_letters import sides_of, tell
from payments.services.contract_tick import end_pause, locked, terms_for


@retried
def pause_contract(*, contract_id: UUID, by: User, now: datetime, reason: str = "") -> Contract:
    """Let no period begin from now on; the one that runs goes on to its end.

    What was due before is still owed. Raises NotAllowed, Conflict unless it is active or past due.
    """
    contract = locked(contract_id)
    side = _side(contract, by)
    if contract.status not in (ContractStatus.ACTIVE, ContractStatus.PAST_DUE):
        raise Conflict(f"This contract is {contract.get_status_display().lower()} and cannot be paused.")
    terms = terms_for(contract, contract.next_no)
    assert terms is not None  # noqa: S101 it runs, so it has terms
    ContractPause.objects.create(contract=contract, from_at=now, catch_up=terms.catch_up)
    contract.pause(by=by, side=side, now=now, reason=reason or "Paused.")
    tell(contract, _others(side), what="paused", detail=f"It was paused. {reason}", key=f"paused:{now}", now=now)
    return contract


@retried
def resume_contract(*, contract_id: UUID, by: User, now: datetime, reason: str = "") -> Contract:
    """Let periods begin again; those that fell into the pause are left out or caught up, as the terms say.

    A pause is ended by the side that made it, a suspension by the payer; both also by staff who may change contracts.
    Raises NotAllowed, Conflict unless it is paused or suspended.
    """
    contract = locked(contract_id)
    side = _side(contract, by)
    if contract.status not in (ContractStatus.PAUSED, ContractStatus.SUSPENDED):
        raise Conflict(f"This contract is {contract.get_status_display().lower()}: there is nothing to resume.")
    whose = contract.paused_side if contract.status == ContractStatus.PAUSED else Side.PAYER
    if whose and side and whose not in sides_of(contract, by):
        raise NotAllowed(f"The {Side(whose).label.lower()} has to resume it.")
    end_pause(contract, now)
    contract.go_on(by=by, now=now, reason=reason or "Resumed.")
    tell(contract, _others(side), what="resumed", detail=f"It goes on. {reason}", key=f"resumed:{now}", now=now)
    return contract


@retried
def cancel_contract(*, contract_id: UUID, by: User, now: datetime, reason: str = "") -> Contract:
    """End a contract with the period that runs; one that nobody accepted yet is taken back or declined.

    A period that was due by now is owed and paid, one that is due later never begins. Raises NotAllowed, Conflict
    for one that is over or cancelled already.
    """
    contract = locked(contract_id)
    side = _side(contract, by)
    if contract.is_open and side:
        return decline(contract_id=contract_id, by=by, now=now, reason=reason or "Withdrawn.")
    if not contract.is_running:
        raise Conflict(f"This contract is {contract.get_status_display().lower()}.")
    no = max(contract.next_no, contract.schedule.first_after(now))
    if contract.stop_no is not None and contract.stop_no <= no:
        raise Conflict(f"This contract was cancelled before and ends on {contract.schedule.day(contract.stop_no)}.")
    Contract.objects.filter(pk=contract.pk).update(stop_no=no, due_at=now, updated_at=now)
    contract.stop_no, contract.due_at = no, now
    detail = f"It was cancelled and ends on {contract.schedule.day(no)}. {reason}".strip()
    contract.note(by=by, reason=detail, now=now)
    tell(contract, _others(side), what="cancelled", detail=detail, key="cancelled", now=now)
    return contract


def _side(contract: Contract, by: User) -> str:
    """Give for which side somebody acts; empty for staff who may change contracts and act for neither."""
    mine = sides_of(contract, by)
    if not mine and not (by.is_staff and by.has_perm("payments.change_contract")):
        who = "a manager" if contract.is_allowance else "an owner"
        raise NotAllowed(f"This takes the role of {who} of {contract.payer} or of {contract.payee}.")
    return mine[0] if mine else ""


def _others(side: str) -> list[Side]:
    return [other for other in Side if other != side]
