"""Hold the statements and the books of each month against the transfers, and what people get of them side by side.

The sums come from the transfers alone, one after the other. The CSV, the page and the document are asked for as a
browser does, and their rows are compared: of the CSV every one, of the other two as many as they list.
"""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from html import unescape
from uuid import UUID

from django.contrib.auth.models import AbstractBaseUser
from django.test import Client

from accounts.ledger.models import Balance, Transfer
from payments.models import Charge, Statement
from payments.pages.statements import MOST_LINES as ON_PAGE
from payments.services.statements import movements_of
from payments.statement_pdf import MOST_LINES as ON_DOCUMENT

EARNED = ("earnings", "earnings_pending")
OF_CHARGES = ("sold_ms", "lent_ms", "charged", "fee", "owner_part", "from_loss")
# A row of the page's last table, and of the document's as pdftotext writes it out: moment and amount.
ON_PAGE_ROW = re.compile(r'<time datetime="([^"]+)">.*?data-label="Amount">\+?(-?[\d.]+) ', re.DOTALL)
ON_DOCUMENT_ROW = re.compile(r"^\s*(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) .*?(-?\d+\.\d{6})$", re.MULTILINE)


class Moved:
    """What the transfers say of each month, of each balance and of each kind of balance."""

    def __init__(self) -> None:
        self.of_balance: dict[tuple[date, UUID], list[tuple[UUID, int, str]]] = defaultdict(list)
        self.of_kind: dict[tuple[str, str], Counter[date]] = defaultdict(Counter)
        self.balances = {balance.pk: balance for balance in Balance.objects.all()}
        columns = ("pk", "created_at", "debit_id", "credit_id", "amount", "kind")
        for pk, at, debit, credit, amount, kind in Transfer.objects.order_by("pk").values_list(*columns).iterator():
            month = at.date().replace(day=1)
            for side, signed in ((debit, -amount), (credit, amount)):
                self.of_balance[month, side].append((pk, signed, kind))
                balance = self.balances[side]
                self.of_kind[balance.asset_id, balance.kind][month] += signed
        self.of_balance.default_factory = None  # to look is not to move
        self.months = sorted({month for month, _ in self.of_balance})

    def within(self, month: date, balance: UUID) -> list[tuple[UUID, int, str]]:
        return self.of_balance.get((month, balance), [])

    def before(self, month: date, balance: UUID) -> int:
        return sum(
            signed for earlier in self.months if earlier < month for _, signed, _ in self.within(earlier, balance)
        )


def faults_of_statements(reader: AbstractBaseUser, *, documents: bool = True) -> Iterator[str]:
    """Say what of any statement or of any month's books is not what the transfers come to."""
    moved, seen = Moved(), set()
    client = Client(headers={"host": "localhost"})
    client.force_login(reader)
    charged = _charges()
    for statement in Statement.objects.select_related("account").prefetch_related("balances").order_by("month", "pk"):
        if statement.kind == "books":
            yield from _of_books(statement, moved)
            continue
        said = f"{statement.kind} {statement.month:%Y-%m} of {statement.account}"
        for row in statement.balances.all():
            seen.add((statement.month, row.balance_id))
            rows = moved.within(statement.month, row.balance_id)
            came, went = (sum(abs(n) for _, n, _ in rows if (n > 0) is is_in) for is_in in (True, False))
            before = moved.before(statement.month, row.balance_id)
            told = (row.opening, row.came, row.went, row.closing, row.arrivals + row.departures)
            if told != (before, came, went, before + came - went, len(rows)):
                yield f"{said}: {row} says {told}, the transfers {before}, {came}, {went} by {len(rows)}"
        if statement.kind == "owner":
            told = tuple(getattr(statement, name) for name in OF_CHARGES)
            if told != (wanted := charged[statement.month, statement.account_id]):
                yield f"{said} has charges of {told}, not {wanted}"
        yield from (f"{said}: {fault}" for fault in _of_rows(statement, moved, client, documents))
    made = {statement.month for statement in Statement.objects.filter(kind="books")}
    for month, balance_id in moved.of_balance:
        if month in made and (month, balance_id) not in seen and moved.balances[balance_id].owner_key[:5] == "acct:":
            yield f"{moved.balances[balance_id]} moved in {month:%Y-%m} and stands on no statement"


def _charges() -> dict[tuple[date, UUID], tuple[int, ...]]:
    sums: dict[tuple[date, UUID], list[int]] = defaultdict(lambda: [0] * len(OF_CHARGES))
    columns = ("at", "owner_account_id", "funding", "gpu_ms", "charge", "fee", "owner_part", "from_loss")
    for at, owner, funding, gpu_ms, *amounts in Charge.objects.values_list(*columns).iterator():
        is_lent = funding == "quota"
        row = (0 if is_lent else gpu_ms, gpu_ms if is_lent else 0, *amounts)
        key = (at.date().replace(day=1), owner)
        sums[key] = [old + new for old, new in zip(sums[key], row, strict=True)]
    found: dict[tuple[date, UUID], tuple[int, ...]] = defaultdict(lambda: (0,) * len(OF_CHARGES))
    return found | {key: tuple(row) for key, row in sums.items()}


def _of_books(statement: Statement, moved: Moved) -> Iterator[str]:
    sums: Counter[str] = Counter()
    for row in statement.balances.all():
        by_month = moved.of_kind[row.asset_id, row.kind]
        closing = sum(amount for month, amount in by_month.items() if month <= statement.month)
        sums[row.asset_id] += row.closing
        if (row.opening, row.closing) != (closing - by_month[statement.month], closing):
            yield f"books of {statement.month:%Y-%m}: {row} closes with {row.closing}, the transfers with {closing}"
    yield from (f"books of {statement.month:%Y-%m}: {asset} sums to {n}" for asset, n in sums.items() if n)


def _of_rows(statement: Statement, moved: Moved, client: Client, documents: bool) -> Iterator[str]:
    """Compare every form in which a statement is given with the transfers of its balances."""
    balances = list(statement.balances.all())
    wanted = sorted(
        (pk, row.asset_id, row.kind, signed, kind)
        for row in balances
        for pk, signed, kind in moved.within(statement.month, row.balance_id)
    )
    kinds: Counter[tuple[str, str, str]] = Counter()
    for _, asset, balance, signed, kind in wanted:
        kinds[asset, balance, kind] += signed
    summed = {(m.balance.asset_id, m.balance.kind, m.kind): m.came - m.went for m in movements_of(statement, balances)}
    if summed != kinds:
        yield f"its movements by kind come to {summed}, not {dict(kinds)}"
    base = f"/api/v1/statements/{statement.pk}"
    answer = client.get(f"{base}.csv")
    table = list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))
    rows = [row for row in table if row["type"] == "transfer"]
    told = sorted((UUID(r["id"]), r["asset"], r["balance"], int(r["amount_exact"]), r["kind"]) for r in rows)
    if told != wanted:
        yield f"its CSV has {len(told)} movements, the ledger {len(wanted)}, or they differ"
    after: dict[tuple[str, str], int] = {}
    for row in table:
        key = (row["balance"], row["asset"])
        if row["type"] == "opening":
            after[key] = int(row["after_exact"])
        elif row["type"] == "transfer":
            after[key] += int(row["amount_exact"])
        if row["type"] != "held" and after[key] != int(row["after_exact"]):
            yield f"its CSV has {row['after_exact']} of {key} where its rows come to {after[key]}"
    listed = [(datetime.fromisoformat(row["at"]).replace(microsecond=0), Decimal(row["amount"])) for row in rows]
    page = unescape(client.get(f"/accounts/{statement.account_id}/statements/{statement.pk}/").content.decode())
    on_page = [(datetime.fromisoformat(at).replace(microsecond=0), Decimal(n)) for at, n in ON_PAGE_ROW.findall(page)]
    if on_page != listed[:ON_PAGE]:
        yield f"its page has {len(on_page)} rows, and not those of the CSV"
    if documents and len(listed) <= ON_DOCUMENT:
        yield from _of_document(client.get(f"{base}.pdf").content, listed)


def _of_document(document: bytes, listed: list[tuple[datetime, Decimal]]) -> Iterator[str]:
    command = ["pdftotext", "-layout", "-", "-"]
    text = subprocess.run(command, input=document, capture_output=True, check=True).stdout.decode()
    printed = [(f"{at:%Y-%m-%d %H:%M:%S}", amount) for at, amount in listed]
    found = [(at, Decimal(amount)) for at, amount in ON_DOCUMENT_ROW.findall(text)]
    if found != printed:
        yield f"its document has {len(found)} rows, and not the {len(printed)} of the CSV"


def reads_documents() -> bool:
    """Tell whether this machine can read the text of a PDF."""
    return shutil.which("pdftotext") is not None
