"""The sheet of an inspection: for a person, as text and as one HTML file, in Japanese and English side by side.

In:  `Look`, everything one inspection knows. Out: text.
The page needs nothing from outside: no script, no font, no image. What was not seen says so; nothing is made up.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Final

from packbox.core.inspection import CHASSIS, Inspection, capacity_ratio_pct, spread_v
from packbox.core.profile import Profile
from packbox.core.swap import SERIAL

Words = tuple[str, str]  # Japanese, English


@dataclass(frozen=True, slots=True)
class Look:
    profile: Profile
    variant: str | None
    evidence: tuple[str, ...]
    found: Inspection
    source: str
    wall_ms: int | None
    seconds: float
    frames: int
    frames_refused: int
    frames_sent: int
    box: str
    records: int
    digest: str  # of the last sealed record, hex


NOT_SEEN: Final[Words] = ("未取得", "not seen")
TITLE: Final[Words] = ("駆動用バッテリー検査票", "Traction battery inspection")
FOOT: Final[Words] = (
    "数値は車両が通知した値、またはバスで聞き取った値です。署名済み記録で検証できます。",
    "Figures are what the car reported or what was heard on its bus. The sealed record proves them.",
)
SECTIONS: Final[dict[str, Words]] = {
    "car": ("車両", "Car"),
    "health": ("健全度", "Health"),
    "now": ("現在の状態", "Now"),
    "cells": ("セル", "Cells"),
    "codes": ("故障コード", "Trouble codes"),
    "remarks": ("注意点", "Remarks"),
    "evidence": ("車種判定の根拠", "How the car was recognised"),
    "seal": ("記録と署名", "Record and seal"),
}
REMARK_WORDS: Final[dict[str, Words]] = {
    "experimental": (
        "この車種の定義は実車で未検証です。数値は参考としてください。",
        "This car's profile is experimental: not proven on a real car. Take the figures with care.",
    ),
    "wrong_profile": (
        "受信内容が車種定義と合いません。",
        "What was heard does not fit the profile of this car.",
    ),
    "cells_do_not_sum": (
        "セル電圧の合計が総電圧と 1 % 以上違うため、セル値は採用していません。",
        "The cells do not add up to the pack voltage within 1 %: cell values were left out.",
    ),
    "spread": ("セル間の電圧差が 50 mV を超えています。", "Highest and lowest cell differ by more than 50 mV."),
    "ratio": (
        "通知 SoH と通知容量が一致しません。",
        "Reported state of health and reported capacity disagree.",
    ),
    "reset": (
        "走行距離に対して SoH が新品同様です。BMS のリセットや電池交換の可能性があります。",
        "Reports as new in spite of its kilometres: the BMS may have been reset or the pack replaced.",
    ),
    "codes": ("故障コードがあります。", "There are trouble codes."),
    "no_identity": (
        "電池の製造番号を取得できませんでした。",
        "The battery's serial number was not read: this sheet names a car, not a battery.",
    ),
}


def rows(look: Look) -> Iterator[tuple[str, Words, str | None]]:
    """(section, label, value) in the order of the sheet; None = not seen."""
    found = look.found
    pack = found.pack
    variant = next((v.name for v in look.profile.variants if v.id == look.variant), None)
    yield "car", ("車種", "Model"), variant or look.profile.name
    yield "car", ("車台番号", "Chassis number"), next((found.texts[n] for n in CHASSIS if n in found.texts), None)
    yield "car", ("電池製造番号", "Battery serial number"), found.texts.get(SERIAL)
    for name, text in found.texts.items():
        if name != SERIAL and name not in CHASSIS:
            yield "car", (name.replace("_", " "),) * 2, text
    yield "car", ("走行距離", "Odometer"), _figure(found, "odometer_km", "km", 0)
    yield "car", ("電池", "Pack"), None if pack is None else _pack(look)
    yield (
        "health",
        ("通知 SoH（車両の値）", "State of health as the car reports it"),
        _figure(found, "soh_reported_pct", "%", 1),
    )
    yield "health", ("通知容量", "Capacity as the car reports it"), _figure(found, "capacity_reported_ah", "Ah", 1)
    ratio_pct = capacity_ratio_pct(found)
    yield "health", ("通知容量 ÷ 新品容量", "Reported capacity ÷ capacity when new"), _number(ratio_pct, "%", 1)
    soh = None if found.soh is None else found.soh.soh
    measured = (
        None if soh is None or soh.soh_pct is None else f"{soh.soh_pct:.1f} % ({soh.lo90_pct:.1f}–{soh.hi90_pct:.1f} %)"
    )
    yield "health", ("装置評価 SoH（90 % 区間）", "State of health as the box weighs it (90 %)"), measured
    yield "health", ("普通充電回数", "AC charges"), _figure(found, "charge_count_ac", "", 0)
    yield "health", ("急速充電回数", "Quick charges"), _figure(found, "charge_count_dc", "", 0)
    for name, label in (
        ("lifetime_energy_in_kwh", ("累積充電量", "Energy charged, lifetime")),
        ("lifetime_energy_out_kwh", ("累積放電量", "Energy discharged, lifetime")),
    ):
        if name in found.figures:
            yield "health", label, _figure(found, name, "kWh", 0)
    yield (
        "now",
        ("充電率（BMS / 表示）", "State of charge, BMS / shown"),
        _pair(_figure(found, "soc_bms_pct", "%", 1), _figure(found, "soc_shown_pct", "%", 0)),
    )
    yield "now", ("総電圧", "Pack voltage"), _figure(found, "pack_voltage_v", "V", 1)
    yield "now", ("電流（＋充電）", "Pack current, + into the pack"), _figure(found, "pack_current_a", "A", 1)
    yield (
        "now",
        ("電池温度（最低 / 最高）", "Pack temperature, lowest / highest"),
        _pair(_figure(found, "pack_temp_min_degc", "°C", 0), _figure(found, "pack_temp_max_degc", "°C", 0)),
    )
    yield "now", ("補機電圧", "12 V side"), _figure(found, "aux_voltage_v", "V", 1)
    cells = [v for v in found.cells_v if v is not None]
    yield "cells", ("セル数", "Cells read"), f"{len(cells)}" if cells else None
    low = min(cells) if cells else found.last("cell_voltage_min_v")
    high = max(cells) if cells else found.last("cell_voltage_max_v")
    yield "cells", ("最低 / 最高", "Lowest / highest"), _pair(_number(low, "V", 3), _number(high, "V", 3))
    spread = spread_v(found)
    yield "cells", ("電圧差", "Spread"), None if spread is None else f"{1000 * spread:.0f} mV"
    codes = None if not found.trouble_codes else ", ".join(found.codes) or "なし / none"
    yield "codes", ("コード", "Codes"), codes
    when = (
        None
        if look.wall_ms is None
        else datetime.fromtimestamp(look.wall_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    )
    yield "seal", ("日時", "Time"), when
    yield "seal", ("入力", "Source"), f"{look.source}, {look.seconds:,.0f} s, {look.frames:,} frames"
    yield "seal", ("棄却 / 送信フレーム", "Frames refused / sent"), f"{look.frames_refused:,} / {look.frames_sent:,}"
    yield "seal", ("装置", "Box"), look.box
    yield "seal", ("署名済み記録", "Sealed records"), f"{look.records}, …{look.digest}"


def text_sheet(look: Look) -> str:
    lines = [" / ".join(TITLE)]
    section = ""
    for name, label, value in rows(look):
        if name == "seal" and section != "seal":
            lines += _said_lines(look)
        if name != section:
            lines += ["", " / ".join(SECTIONS[name])]
            section = name
        lines.append("  " + _padded(_label(label), 62) + (value or " / ".join(NOT_SEEN)))
    return "\n".join([*lines, "", *FOOT]) + "\n"


def _said_lines(look: Look) -> list[str]:
    lines: list[str] = []
    if look.found.remarks:
        lines += ["", " / ".join(SECTIONS["remarks"])]
        lines += [f"  - {text}" for key in look.found.remarks for text in REMARK_WORDS[key]]
    return [*lines, "", " / ".join(SECTIONS["evidence"]), *(f"  - {text}" for text in look.evidence)]


def _label(label: Words) -> str:
    return label[0] if label[0] == label[1] else " / ".join(label)


def _padded(text: str, width: int) -> str:
    """Japanese letters are two columns wide."""
    columns = sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
    return text + " " * max(1, width - columns)


def html_sheet(look: Look) -> str:
    sections: dict[str, list[str]] = {}
    for name, label, value in rows(look):
        sections.setdefault(name, []).append(_row(label, value))
    cards = [
        _card(name, f"<dl>{''.join(items)}</dl>" + (_cell_chart(look.found.cells_v) if name == "cells" else ""))
        for name, items in sections.items()
        if name != "seal"
    ]
    remarks = "".join(
        f"<li><b lang='ja'>{escape(REMARK_WORDS[k][0])}</b><span lang='en'>{escape(REMARK_WORDS[k][1])}</span></li>"
        for k in look.found.remarks
    )
    evidence = "".join(f"<li>{escape(text)}</li>" for text in look.evidence)
    model = next((v.name for v in look.profile.variants if v.id == look.variant), look.profile.name)
    return f"""<!doctype html>
<html lang="ja"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(TITLE[0])} – {escape(model)}</title><style>{STYLE}</style></head><body><main>
<header><div><h1>{escape(TITLE[0])}<small lang="en">{escape(TITLE[1])}</small></h1><p>{escape(model)}</p></div>
{_headline(look.found)}</header>
{_card("remarks", f"<ul class='remarks'>{remarks}</ul>") if remarks else ""}
<div class="grid">{"".join(cards)}</div>
{_card("evidence", f"<ul class='evidence'>{evidence}</ul>")}
{_card("seal", f"<dl>{''.join(sections['seal'])}</dl>")}
<footer><p>{escape(FOOT[0])}</p><p lang="en">{escape(FOOT[1])}</p></footer>
</main></body></html>
"""


def _headline(found: Inspection) -> str:
    """The one figure that everybody asks for, with whose figure it is."""
    pct = found.last("soh_reported_pct")
    label: Words = ("通知 SoH", "reported by the car")
    if pct is None:
        pct, label = capacity_ratio_pct(found), ("通知容量比", "reported capacity, of new")
    shown = "–" if pct is None else f"{pct:.0f}<i>%</i>"
    return f"<div class='big'><strong>{shown}</strong><span>{label[0]}<br><em lang='en'>{label[1]}</em></span></div>"


def _card(name: str, inside: str) -> str:
    ja, en = SECTIONS[name]
    return f"<section class='{name}'><h2>{escape(ja)}<small lang='en'>{escape(en)}</small></h2>{inside}</section>"


def _row(label: Words, value: str | None) -> str:
    ja, en = (escape(word) for word in label)
    english = "" if ja == en else f"<small lang='en'>{en}</small>"
    said = f"<dd class='none'>{NOT_SEEN[0]} / {NOT_SEEN[1]}</dd>" if value is None else f"<dd>{escape(value)}</dd>"
    return f"<div><dt>{ja}{english}</dt>{said}</div>"


CHART_WIDTH: Final = 640
CHART_HEIGHT: Final = 120
CHART_SPAN_V: Final = 0.04  # shown at least: a healthy pack must not look ragged


def _cell_chart(cells_v: Sequence[float | None]) -> str:
    """One bar a cell, from a little below the lowest; the lowest stands out."""
    known = [v for v in cells_v if v is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    base = low - max(high - low, CHART_SPAN_V) * 0.5
    span = max(high, base + CHART_SPAN_V * 1.5) - base
    step = CHART_WIDTH / len(cells_v)
    bars = []
    for n, volts in enumerate(cells_v):
        if volts is None:
            continue
        height = (volts - base) / span * CHART_HEIGHT
        mark = " class='low'" if volts == low else ""
        bars.append(
            f"<rect{mark} x='{n * step:.1f}' y='{CHART_HEIGHT - height:.1f}' width='{step * 0.75:.1f}' "
            f"height='{height:.1f}'><title>{n + 1}: {volts:.3f} V</title></rect>"
        )
    return (
        f"<svg viewBox='0 0 {CHART_WIDTH} {CHART_HEIGHT}' role='img' aria-label='{len(known)} cells, "
        f"{low:.3f} to {high:.3f} V'>{''.join(bars)}</svg>"
    )


def _pack(look: Look) -> str:
    pack = look.found.pack
    assert pack is not None
    parts = [
        pack.id,
        _number(pack.nominal_kwh, "kWh", 0),
        _number(pack.reference_ah, "Ah 新品時 / when new", 1),
        None if pack.cells_in_series is None else f"{pack.cells_in_series} s",
        pack.chemistry.value.upper(),
    ]
    return ", ".join(part for part in parts if part)


def _figure(found: Inspection, quantity: str, unit: str, decimals: int) -> str | None:
    return _number(found.last(quantity), unit, decimals)


def _number(value: float | None, unit: str, decimals: int) -> str | None:
    return None if value is None else f"{value:,.{decimals}f} {unit}".rstrip()


def _pair(first: str | None, second: str | None) -> str | None:
    return None if first is None and second is None else f"{first or '–'} / {second or '–'}"


STYLE: Final = """
:root{--ink:#17212f;--soft:#5a6779;--line:#dde3ec;--paper:#f2f4f8;--deep:#1d3468;--amber:#8a5200}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);line-height:1.45;
font-family:"Hiragino Sans","Noto Sans JP","Yu Gothic UI",Meiryo,system-ui,sans-serif}
main{max-width:56rem;margin:0 auto;padding:1.2rem}
header{display:flex;justify-content:space-between;align-items:center;gap:1rem;padding:1.3rem 1.6rem;
color:#fff;background:var(--deep);border-radius:14px;-webkit-print-color-adjust:exact;print-color-adjust:exact}
h1{font-size:1.35rem;margin:0}h1 small,h2 small,dt small{display:block;font-weight:400;opacity:.75;font-size:.72em}
header p{margin:.5rem 0 0;font-size:1.1rem}
.big{display:flex;align-items:center;gap:.8rem;text-align:left}
.big strong{font-size:3.4rem;line-height:1}
.big i{font-size:.45em;font-style:normal;margin-left:.1em}
.big span{font-size:.8rem}.big em{font-style:normal;opacity:.75}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(20rem,1fr));gap:0 1rem}
section{background:#fff;border:1px solid var(--line);border-radius:14px;padding:1rem 1.3rem;margin-top:1rem;
break-inside:avoid}
.cells{grid-column:1/-1}h2{font-size:1rem;margin:0 0 .6rem;color:var(--deep)}
dl{margin:0}
dl div{display:flex;justify-content:space-between;gap:1rem;padding:.35rem 0;border-top:1px solid var(--line)}
dl div:first-child{border-top:0}dt{color:var(--soft);font-size:.85rem}
dd{margin:0;text-align:right;font-variant-numeric:tabular-nums;font-weight:600;overflow-wrap:anywhere}
dd.none{font-weight:400;color:var(--soft)}
svg{width:100%;height:auto;margin-top:.8rem}rect{fill:#6d8de0}rect.low{fill:#c07d12}
ul{margin:0;padding-left:1.2rem}
.remarks li{color:var(--amber);margin:.3rem 0}.remarks span{display:block;font-size:.85rem}
.evidence{font-size:.8rem;color:var(--soft);columns:2 18rem}
footer{margin:1rem .3rem;font-size:.78rem;color:var(--soft)}footer p{margin:.2rem 0}
@media (max-width:34rem){header{flex-direction:column;align-items:flex-start}
.grid{grid-template-columns:1fr}}
@media print{body{background:#fff}main{max-width:none;padding:0}
section{margin-top:.5rem;padding:.6rem .9rem}}
"""
