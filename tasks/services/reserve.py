"""Reserved hours for a task: which contract's, and what its terms bind the task to."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Q

from accounts.models import Account
from gaas.lib.errors import DomainError, NotFound
from gpus.models import Host
from payments.choices import ContractKind
from payments.models import Contract
from payments.services import bucket_of, gives_hours, left_of, terms_in_force
from tasks.choices import Funding
from tasks.draft import Draft
from tasks.models import Task


class ContractEnded(DomainError):
    """Refuse hours of a reservation that is over: they lapse, or have lapsed."""

    code = "contract_ended"
    depends_on_state = True


def contract_for(draft: Draft, *, account: Account, payer: Account, now: datetime) -> Contract | None:
    """Give the contract whose hours pay for a draft, None where none does.

    Named, it is that one. Reserved hours are spent first on the GPUs of their owner: a task with an end that names
    a host of an owner with whom its account, or who pays for it, has a contract is paid from that, if it covers the
    whole of it; the quote and the task say so. A task that names no host is paid as it asks, for it may run elsewhere.
    Raises NotFound for a contract that is none of the account's, ContractEnded for one that is over.
    """
    mine = Contract.objects.filter(
        Q(payer=account.pk) | Q(payer=payer.pk), kind=ContractKind.RESERVATION, activated_at__isnull=False
    )
    if draft.funding == Funding.RESERVED:
        named = mine.filter(pk=draft.contract_id).first() if draft.contract_id else None
        if named is None:
            raise NotFound("This account has no such reservation.", attr="contract")
        if not gives_hours(named, now=now):
            raise ContractEnded(
                f"{named} has ended, and what was left of its hours lapses. Pay with funding `quota` or `wallet`.",
                attr="contract",
            )
        return named
    if draft.host_id is None or draft.limit_ms is None:
        return None
    of_host = Host.objects.filter(pk=draft.host_id).values("account")
    for contract in mine.filter(payee__in=of_host).order_by("pk"):
        left = left_of(contract)
        if left is None or left.available < draft.gpus * draft.limit_ms or not gives_hours(contract, now=now):
            continue
        if _clash(draft, contract) is None:
            return contract
    return None


def bind(task: Task, contract: Contract, draft: Draft) -> None:
    """Pay a task from a contract: it may run on that owner's GPUs alone, and on those the terms speak of.

    Raises DomainError where the task asks for others.
    """
    if (clash := _clash(draft, contract)) is not None:
        raise clash
    terms = terms_in_force(contract)
    if draft.funding != Funding.RESERVED:
        task.asked_to_pay = {"funding": draft.funding, "max_price_per_hour": draft.max_price_per_hour}
    task.funding, task.contract, task.reserved_owner_id = Funding.RESERVED, contract, contract.payee_id
    task.gpu_model = task.gpu_model or terms.gpu_model
    task.labels = {**terms.labels, **task.labels}


def _clash(draft: Draft, contract: Contract) -> DomainError | None:
    terms = terms_in_force(contract)
    if draft.gpu_model and terms.gpu_model.casefold() not in draft.gpu_model.casefold():
        return DomainError(
            f'Reserved is "{terms.gpu_model}": leave `gpu_model` out, or name one of those.', attr="gpu_model"
        )
    for name, value in terms.labels.items():
        if draft.labels.get(name, value) != value:
            return DomainError(f"Reserved are GPUs with the label {name}={value}.", attr="labels")
    return None


__all__ = ["bind", "bucket_of", "contract_for"]
