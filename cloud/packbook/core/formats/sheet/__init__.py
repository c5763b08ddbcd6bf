"""The format `sheet`: one battery's condition on one page of A4, two at most, for people who buy, sell and insure it.

In:  a passport cut down to what its reader may see, `Words` of one language, two fonts, the address for the QR code.
Out: a PDF. The same record gives the same bytes: its dates are those of the record's newest fact, never of the clock.
It shows what the passport holds and nothing else. A record that carries no sure figure gets no figure, but a warning.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from reportlab.pdfgen.canvas import Canvas

from packbook.core.formats import LeftOut, Made
from packbook.core.formats.sheet import about, ahead, health, life
from packbook.core.formats.sheet.about import Link
from packbook.core.formats.sheet.blocks import Block, Columns, Stack, Titled
from packbook.core.formats.sheet.code import AGEING, code_of
from packbook.core.formats.sheet.pen import NOTE, PAGE_HEIGHT, PAGE_WIDTH, Fonts, Pen, Style, Type, setting
from packbook.core.formats.sheet.record import Record
from packbook.core.formats.writing import ABOUT_LIFE, ABOUT_VALUES, Account
from packbook.core.passport import Fact, Passport, Source
from packbook.core.words import ABSENT, Words

SUFFIX: Final = ".sheet.pdf"
MARGIN: Final = 29.0  # 10 mm: what office printers leave white
GAP: Final = 5.0
GAP_MAX: Final = 11.0  # where there is room to spare
HEADER: Final = 33.0
FOOTER: Final = 12.0
WIDTH: Final = PAGE_WIDTH - 2 * MARGIN
ROOM: Final = PAGE_HEIGHT - 2 * MARGIN - HEADER - FOOTER
CALENDAR: Final = "it follows from the day the sheet is read"
GLYPHS: Final = "characters that the sheet's font does not have"
EVIDENCE: Final = LeftOut("evidence", "the sheet names the boxes; the formats neutral and bundle name each record")


def make(passport: Passport, t: Words, fonts: Fonts, link: Link | None = None) -> Made:
    """`link`: where the QR code leads; None: there is none."""
    facts = {name: found for name, found in passport.facts.items() if name != AGEING}
    settled = replace(passport, facts=facts, made_ms=seen_ms(facts) or passport.made_ms)
    record = Record(settled, t, Account(settled))
    code = code_of(passport)
    with setting(fonts) as type_:
        data = _drawn(record, code, link, type_)
        missing = "".join(sorted(type_.missing))
    left = [one for one in record.account.left_out() if one not in (ABOUT_VALUES, ABOUT_LIFE)]
    left += [LeftOut(AGEING, CALENDAR)] if AGEING in passport.facts else []
    left += [EVIDENCE, *([LeftOut(GLYPHS, f"set as 〓: {missing}")] if missing else [])]
    return Made(data, tuple(left))


def seen_ms(facts: Mapping[str, Sequence[Fact]]) -> int | None:
    """The newest day of anything a box or the car told. What somebody declared since does not make old data new."""
    told = [fact for found in facts.values() for fact in found if fact.value is not None and fact.at_ms is not None]
    seen = [fact for fact in told if fact.source is not Source.DECLARED]
    return max((fact.at_ms or 0 for fact in seen or told), default=None)


def rows_of(record: Record, code: str, link: Link | None) -> list[Block]:
    """From the top of the sheet to its end."""
    t = record.t
    warning = health.alarm(record)
    forecast, promises, next_use = ahead.outlook(record)

    def titled(name: str, block: Block) -> Block:
        return Titled(t(f"sheet_title.{name}"), block)

    def halves(left: Block, right: Block) -> Block:
        return Columns((left, right), (1.0, 1.0))

    return [
        about.identity(record),
        *([warning] if warning is not None else []),
        Columns(
            (
                titled("health", health.headline(record)),
                titled("method", health.method_card(record)),
                titled("check", about.check(record, code, link)),
            ),
            (0.42, 0.32, 0.26),
        ),
        titled("opinions", health.opinions(record)),
        halves(titled("coverage", life.coverage(record)), titled("use", life.use(record))),
        halves(
            titled("stress", life.stress(record)),
            Stack((titled("harm", life.harm(record)), titled("cells", life.cells(record))), gap=GAP),
        ),
        halves(
            titled("forecast", forecast),
            Stack((titled("guarantee", promises), titled("next_use", next_use)), gap=GAP),
        ),
        titled("unknown", about.unknown(record)),
        about.grounds(record),
    ]


def _drawn(record: Record, code: str, link: Link | None, type_: Type) -> bytes:
    file = io.BytesIO()
    canvas = Canvas(file, pagesize=(PAGE_WIDTH, PAGE_HEIGHT), invariant=1, pageCompression=1, lang=record.t.language)
    day = datetime.fromtimestamp(record.passport.made_ms / 1000, UTC)
    canvas.setDateFormatter(lambda *_: f"D:{day:%Y%m%d}000000Z")
    heading, dated = about.title(record), _dated(record)
    canvas.setTitle(f"{record.t('sheet.title')} {record.passport.battery}")
    canvas.setSubject(f"{heading}, {dated}")
    canvas.setAuthor("Packbook")
    canvas.setCreator("Packbook")
    pen = Pen(canvas, type_)
    pages = _pages(rows_of(record, code, link), type_)
    for number, blocks in enumerate(pages, 1):
        _head(pen, record, heading, dated)
        top = MARGIN + HEADER
        gap = _gap(blocks, type_)
        for block in blocks:
            block.draw(pen, MARGIN, top, WIDTH)
            top += block.height(type_, WIDTH) + gap
        _foot(pen, record, code, number, len(pages))
        canvas.showPage()
    canvas.save()
    return file.getvalue()


def _dated(record: Record) -> str:
    at_ms = seen_ms(record.passport.facts)
    return ABSENT if at_ms is None else record.t.date(at_ms)


def _pages(blocks: list[Block], type_: Type) -> list[list[Block]]:
    pages: list[list[Block]] = [[]]
    used = 0.0
    for block in blocks:
        tall = block.height(type_, WIDTH)
        if pages[-1] and used + tall > ROOM:
            pages.append([])
            used = 0.0
        pages[-1].append(block)
        used += tall + GAP
    return pages


def _gap(blocks: list[Block], type_: Type) -> float:
    spare = ROOM - sum(block.height(type_, WIDTH) for block in blocks)
    return max(GAP, min(GAP_MAX, spare / max(1, len(blocks) - 1)))


def _head(pen: Pen, record: Record, heading: str, dated: str) -> None:
    t = record.t
    big, small = Style(size=15.0, bold=True), Style(size=8.2)
    pen.text(MARGIN, MARGIN - 4.0, pen.type.lines(t("sheet.title"), big, WIDTH * 0.6, 1)[0], big)
    named = f"{heading} · {record.passport.battery}"
    pen.text(MARGIN, MARGIN + 15.5, pen.type.lines(named, small, WIDTH * 0.72, 1)[0], small)
    pen.text(MARGIN + WIDTH, MARGIN + 3.0, pen.type.clean(t("sheet.data_of")), NOTE, right=True)
    pen.text(MARGIN + WIDTH, MARGIN + 13.5, pen.type.clean(dated), Style(size=10.0, bold=True), right=True)


def _foot(pen: Pen, record: Record, code: str, number: int, pages: int) -> None:
    t = record.t
    top = PAGE_HEIGHT - MARGIN - FOOTER + 4.0
    pen.rule(MARGIN, top, WIDTH, weight=0.4)
    told = t("sheet.foot", battery=record.passport.battery, code=code)
    pen.text(MARGIN, top + 2.5, pen.type.lines(told, NOTE, WIDTH * 0.82, 1)[0], NOTE)
    pen.text(MARGIN + WIDTH, top + 2.5, pen.type.clean(t("sheet.page", number=number, pages=pages)), NOTE, right=True)
