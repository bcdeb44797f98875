"""A statement as a PDF: the same bytes whenever it is made, nothing fetched, every text a text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fpdf import FPDF
from fpdf.enums import XPos, YPos
from fpdf.fonts import TTFFont

from payments.choices import StatementKind
from payments.statement_rows import balance_in_words, kind_in_words, owner_facts, shown

FONT = Path(__file__).parent / "fonts" / "DejaVuSans.ttf"
# Lines beyond this are left to the CSV: nobody reads a hundred pages, and each takes time and memory.
MOST_LINES = 500
LONGEST = 300
MISSING = "□"
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]+")
_GREY, _PANEL, _RULE = (90, 100, 110), (240, 243, 245), (205, 212, 218)
_ROW_HEIGHT = 5.2


class _Sheet(FPDF):
    """Write in one font, in whatever direction a text runs, and number the pages."""

    def __init__(self, title: str) -> None:
        super().__init__(format="A4")
        self.add_font("sans", fname=str(FONT))
        self.set_text_shaping(True)
        self.set_font("sans", size=9)
        self.set_auto_page_break(auto=True, margin=18)
        font = self.fonts["sans"]
        self.known = set(font.cmap) if isinstance(font, TTFFont) else set()
        self.lacks = False
        self.set_title(self.text_of(title))
        self.set_producer("GaaS")
        self.heading = self.text_of(title)

    def text_of(self, text: str, longest: int = LONGEST) -> str:
        """Make a text fit to print: cut, without control characters, and with a box where the font has no letter."""
        text = _UNSEEN.sub(" ", unicodedata.normalize("NFC", text))
        if len(text) > longest:
            text = text[: longest - 1] + "…"
        known = "".join(letter if ord(letter) in self.known else MISSING for letter in text)
        self.lacks = self.lacks or known != text
        return known

    def footer(self) -> None:
        self.set_y(-14)
        self.set_font("sans", size=7)
        self.set_text_color(*_GREY)
        self.cell(0, 4, f"Page {self.page_no()} of {{nb}}", align="R")
        self.set_text_color(0)

    def part(self, title: str) -> None:
        self.ln(4)
        self.set_font("sans", size=11)
        self.cell(0, 7, title, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.set_font("sans", size=8)

    def say(self, text: str) -> None:
        self.multi_cell(0, 4.5, text, new_x=XPos.LMARGIN, new_y=YPos.NEXT, align="L")

    def grid(self, head: Sequence[str], rows: Iterable[Sequence[str]], widths: Sequence[float], numbers: int) -> None:
        """Draw a table whose last `numbers` columns are numbers; its head stands on every page.

        Each row is one line, cut where it is too long: fpdf2's own tables break lines letter by letter, which takes
        twenty seconds for a thousand rows.
        """
        self.set_draw_color(*_RULE)
        aligns = ["L"] * (len(head) - numbers) + ["R"] * numbers
        self._row(head, widths, aligns, fill=True)
        for cells in rows:
            if self.will_page_break(_ROW_HEIGHT):
                self.add_page()
                self._row(head, widths, aligns, fill=True)
            self._row(cells, widths, aligns, fill=False)
        self.set_x(self.l_margin)

    def _row(self, cells: Sequence[str], widths: Sequence[float], aligns: Sequence[str], *, fill: bool) -> None:
        if fill:
            self.set_fill_color(*_PANEL)
        for text, width, align in zip(cells, widths, aligns, strict=True):
            self.set_text_shaping(not text.isascii())
            if align == "L":
                text = self._cut(text, width - 2)
            elif (wide := self.get_string_width(text)) > width - 2:
                # A number is made narrow, never short.
                self.set_stretching(100 * (width - 2) / wide)
            self.cell(width, _ROW_HEIGHT, text, border="B", align=align, fill=fill)
            self.set_stretching(100)
        self.set_text_shaping(True)
        self.ln(_ROW_HEIGHT)

    def _cut(self, text: str, width: float) -> str:
        while text and self.get_string_width(text) > width:
            text = text[: min(len(text) - 2, int(len(text) * width / self.get_string_width(text)))] + "…"
        return text


def statement_pdf(
    statement: Any, *, balances: Sequence[Any], movements: Iterable[Any], lines: Iterable[Any], count: int
) -> bytes:
    """Write a statement of one account; `lines` are read only where all `count` of them are few enough to print."""
    name = statement.account.name
    sheet = _Sheet(f"Statement for {statement.month:%B %Y}")
    # What it says never changes, so its bytes do not.
    sheet.set_creation_date(statement.end)
    sheet.add_page()
    sheet.set_font("sans", size=16)
    sheet.multi_cell(0, 8, sheet.heading, new_x=XPos.LMARGIN, new_y=YPos.NEXT, align="L")
    sheet.set_font("sans", size=11)
    sheet.multi_cell(0, 6, sheet.text_of(name), new_x=XPos.LMARGIN, new_y=YPos.NEXT, align="L")
    sheet.set_font("sans", size=8)
    sheet.set_text_color(*_GREY)
    whose = "What was earned with GPUs" if statement.kind == StatementKind.OWNER else "Hours and money"
    sheet.say(f"{whose}, from {statement.month:%-d %B %Y} to {statement.last_day:%-d %B %Y}, days of UTC.")
    sheet.say(f"Account {statement.account_id}. Amounts have six places, rounded down; the CSV has the exact integers.")
    sheet.set_text_color(0)
    _write_facts(sheet, statement)
    _write_balances(sheet, balances)
    _write_movements(sheet, movements)
    _write_lines(sheet, lines, count)
    if sheet.lacks:
        sheet.ln(3)
        sheet.say(f"{MISSING} stands for a letter that this document's font does not have; the CSV has it.")
    return bytes(sheet.output())


def _write_facts(sheet: _Sheet, statement: Any) -> None:
    facts = owner_facts(statement)
    if facts:
        sheet.part("Charges on your GPUs")
        sheet.grid(("What", "Sum", "Unit"), [(fact.name, fact.value, fact.unit) for fact in facts], (110, 60, 20), 2)


def _write_balances(sheet: _Sheet, balances: Sequence[Any]) -> None:
    sheet.part("Balances")
    rows = []
    for row in balances:
        amounts = (row.opening, row.came, row.went, row.closing)
        held = "" if row.held is None else shown(row.held, row.asset_id)
        rows.append((f"{row.name}, {row.unit}", *(shown(amount, row.asset_id) for amount in amounts), held))
    head = ("Balance", "Opening", "Came in", "Went out", "Closing", "of it held")
    sheet.grid(head, rows, (40, *[30] * 5), 5)


def _write_movements(sheet: _Sheet, movements: Iterable[Any]) -> None:
    rows = [
        (
            balance_in_words(row.balance.kind),
            sheet.text_of(kind_in_words(row.kind, comes_in=row.came > 0)),
            str(row.transfers),
            shown(row.came, row.balance.asset_id),
            shown(row.went, row.balance.asset_id),
        )
        for row in movements
    ]
    if rows:
        sheet.part("By kind")
        sheet.grid(("Balance", "Kind", "How many", "Came in", "Went out"), rows, (45, 59, 22, 32, 32), 3)


def _write_lines(sheet: _Sheet, lines: Iterable[Any], count: int) -> None:
    sheet.part("Every movement")
    if count > MOST_LINES:
        sheet.say(
            f"There are {count}; a document lists at most {MOST_LINES}. The totals are above, the CSV has each one."
        )
        return
    rows = [
        (
            f"{line.at:%Y-%m-%d %H:%M:%S}",
            balance_in_words(line.balance.kind),
            sheet.text_of(_said(line), 120),
            sheet.text_of(line.ref, 60),
            shown(line.amount, line.balance.asset_id),
        )
        for line in lines
    ]
    if rows:
        sheet.grid(("When (UTC)", "Balance", "What", "Reference", "Amount"), rows, (34, 22, 46, 62, 26), 1)
    else:
        sheet.say("Nothing moved.")


def _said(line: Any) -> str:
    said = kind_in_words(line.kind, comes_in=line.amount > 0)
    return f"{said}: {line.memo}" if line.memo else said
