"""Which groups of staff there are, and what each may do: just what its pages of the admin need.

A migration of `gaas` makes them, and with them the permissions that they have by then. After every later `migrate` they
are made again with those of later models. Made again, nothing changes: what is listed here is given, nothing is taken
away, and members are left alone.
"""

from __future__ import annotations

from typing import Any

from django.apps import apps as global_apps

VIEW_OF_BOOKS = frozenset(
    f"ledger.view_{name}"
    for name in ("asset", "balance", "transfer", "hold", "cap", "holdcap", "balancesnapshot", "checkrun")
)
VIEW_OF_TASKS = frozenset(f"tasks.view_{name}" for name in ("task", "attempt", "approvalstep", "taskevent"))
VIEW_OF_FLEET = frozenset({"gpus.view_host", "gpus.view_gpu"})
VIEW_OF_PEOPLE = frozenset(
    f"accounts.view_{name}"
    for name in ("user", "account", "membership", "invitation", "caprule", "approvalthreshold", "quotarequest")
)
VIEW_OF_PAYMENTS = frozenset(
    f"payments.view_{name}"
    for name in (
        "charge",
        "payment",
        "paymentevent",
        "refund",
        "dispute",
        "review",
        "payout",
        "payoutdestination",
        "payoutevent",
        "statement",
        "contract",
        "contractterms",
        "contractperiod",
        "contractevent",
    )
)

GROUPS: dict[str, frozenset[str]] = {
    # Say yes or no to tasks and to requests for hours.
    "Approvers": VIEW_OF_TASKS
    | VIEW_OF_FLEET
    | {
        "tasks.approve_task",
        "accounts.view_account",
        "accounts.view_quotarequest",
        "accounts.change_quotarequest",
    },
    # Run hosts and GPUs, and end what runs on them.
    "Fleet": VIEW_OF_FLEET
    | VIEW_OF_TASKS
    | {
        "gpus.add_host",
        "gpus.change_host",
        "gpus.change_gpu",
        "gpus.list_gpu",
        "tasks.operate_task",
        "accounts.view_account",
    },
    # See to hours and money.
    "Finance": VIEW_OF_BOOKS
    | {
        "ledger.add_checkrun",
        "accounts.view_account",
        "accounts.grant_hours",
        "accounts.view_caprule",
        "accounts.view_quotarequest",
        "accounts.change_quotarequest",
        "accounts.view_budgetalert",
        "accounts.view_lowmark",
    }
    | VIEW_OF_PAYMENTS
    | {
        "payments.add_payment",
        "payments.refund_payment",
        "payments.change_review",
        "payments.change_contract",
        "payments.decide_payout",
        "payments.send_payout",
    },
    # Help people: log-ins, memberships, letters, tasks that went wrong.
    "Support": VIEW_OF_PEOPLE
    | VIEW_OF_TASKS
    | VIEW_OF_FLEET
    | {
        "accounts.change_user",
        "accounts.add_account",
        "accounts.change_account",
        "accounts.add_membership",
        "accounts.change_membership",
        "accounts.delete_membership",
        "accounts.change_invitation",
        "accounts.view_apikey",
        "accounts.view_registrylogin",
        "accounts.change_apikey",
        "tasks.view_upload",
        "tasks.delete_upload",
        "accounts.view_tokenfamily",
        "accounts.change_tokenfamily",
        "axes.view_accessattempt",
        "axes.change_accessattempt",
        "tasks.operate_task",
        "outbox.view_idempotencykey",
        "outbox.view_mail",
        "outbox.change_mail",
        "outbox.view_webhook",
        "outbox.view_webhookdelivery",
        "outbox.change_webhook",
    },
    # See everything, change nothing.
    "Auditors": VIEW_OF_BOOKS
    | VIEW_OF_TASKS
    | VIEW_OF_FLEET
    | VIEW_OF_PEOPLE
    | {
        "accounts.view_apikey",
        "accounts.view_registrylogin",
        "accounts.view_budgetalert",
        "accounts.view_lowmark",
        "accounts.view_tokenfamily",
        "audit.view_auditevent",
        "auth.view_group",
        "axes.view_accessattempt",
        "ledger.view_transferseal",
        "tasks.view_upload",
        "outbox.view_mail",
        "outbox.view_webhook",
        "outbox.view_webhookdelivery",
    }
    | VIEW_OF_PAYMENTS,
}


def give(*, sender: Any, using: str, apps: Any = global_apps, **_: Any) -> None:
    """Make the groups and give each its permissions on one app's models, once that app's permissions exist."""
    label = sender.label
    wanted = {
        (name, listed.partition(".")[2])
        for name, permissions in GROUPS.items()
        for listed in permissions
        if listed.startswith(f"{label}.")
    }
    if not wanted:
        return
    try:
        group, permission = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    except LookupError:  # on the way back to zero, when these are not there any more
        return
    group.objects.using(using).bulk_create([group(name=name) for name in GROUPS], ignore_conflicts=True)
    groups = dict(group.objects.using(using).filter(name__in=GROUPS).values_list("name", "pk"))
    codenames = {codename for _, codename in wanted}
    found = permission.objects.using(using).filter(content_type__app_label=label, codename__in=codenames)
    permissions = dict(found.values_list("codename", "pk"))
    through = group.permissions.through
    through.objects.using(using).bulk_create(
        [
            through(group_id=groups[name], permission_id=permissions[codename])
            for name, codename in sorted(wanted)
            if codename in permissions
        ],
        ignore_conflicts=True,
    )
