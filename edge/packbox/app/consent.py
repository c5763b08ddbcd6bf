"""`packbox consent show|give|withdraw`: what the owner of the car agrees to, decided at the box.

In:  a purpose and in which role somebody decides. Out: the decision in the data folder, and what holds now on stdout.
A running box notices within seconds, tells it in its own records, and from then on seals nothing beyond it.
Refuses (exit 2) a purpose that it does not know; says (exit 1) when the decision could not be put on disk.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Final

from packbox.adapters.consent_file import ConsentFileError, Decision, read_decisions, write_decisions
from packbox.app.agreement import purposes_of
from packbox.app.options import add_settings_options, settings_from
from packbox.clock import SystemClock
from packbox.core.courtesy import Consent
from packbox.ports import SettingsError
from packbox.settings import Settings
from packwire.consent import Purpose

TEXT_VERSION: Final = "2026-11"  # raise it with every change of meaning below: each decision names its text
TEXTS: Final[Mapping[Purpose, tuple[str, str]]] = {
    Purpose.HISTORY: (
        "every drive, charge and rest goes to your operator's book, with times and odometer: no position, no name.",
        "走行・充電・駐車ごとの時刻、長さ、電力量、温度、走行距離を運用者の記録簿に送ります。位置情報や氏名は送りません。",
    ),
    Purpose.PASSPORT: (
        "the battery's state of health, its lifetime sums and harmful events may be shown to others, as to a buyer.",
        "電池の健全度、累計値、異常の記録を購入者などの第三者に示してよいものとします。",
    ),
    Purpose.POLLING: (
        "the box may ask the car's control units questions that only read, within the setting `polling`.",
        "設定 polling の範囲で、車両の制御装置に読み出しのみの問い合わせを行います。",
    ),
    Purpose.DIAGNOSTICS: (
        "your operator may fetch the newest lines of the box's log to look for a fault.",
        "故障を調べるため、運用者が装置の最近の動作記録を取り寄せることができます。",
    ),
}
ROLES: Final = ("owner", "keeper", "operator")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings_options(parser)
    parser.add_argument("action", choices=("show", "give", "withdraw"))
    parser.add_argument("purpose", nargs="?", choices=[purpose.value for purpose in Purpose], help="not with show")
    parser.add_argument("--by", choices=ROLES, default="owner", help="in which role you decide; nobody is named")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def main(args: argparse.Namespace) -> int:
    if (args.purpose is None) != (args.action == "show"):
        print("packbox consent: give and withdraw need a purpose, show takes none", file=sys.stderr)
        return 2
    try:
        settings = settings_from(args)
        decisions = read_decisions(settings.data_dir)
        if args.purpose is not None:
            now_ms = SystemClock(settings.clock_trusted).now().wall_ms
            decisions[args.purpose] = Decision(args.action == "give", args.by, now_ms, TEXT_VERSION)
            write_decisions(settings.data_dir, decisions)
    except SettingsError as problem:
        print(f"packbox consent: {problem}", file=sys.stderr)
        return 2
    except ConsentFileError as problem:
        print(f"packbox consent: {problem}", file=sys.stderr)
        return 1
    print(_as_json(decisions, settings) if args.json else _told(decisions, settings))
    return 0


def _as_json(decisions: Mapping[str, Decision], settings: Settings) -> str:
    in_force = purposes_of(decisions, settings)
    found = {
        purpose.value: {
            "in_force": purpose in in_force,
            "decided": purpose in decisions,
            "by": decisions[purpose].by if purpose in decisions else None,
            "at_ms": decisions[purpose].at_ms if purpose in decisions else None,
            "text_version": decisions[purpose].text_version if purpose in decisions else None,
        }
        for purpose in Purpose
    }
    return json.dumps(found)


def _told(decisions: Mapping[str, Decision], settings: Settings) -> str:
    in_force = purposes_of(decisions, settings)
    lines = [f"text {TEXT_VERSION}"]
    for purpose, (english, japanese) in TEXTS.items():
        decision = decisions.get(purpose)
        how = f"decided by the {decision.by}" if decision else "nobody decided; as installed"
        lines += [
            f"{purpose.value:12} {'yes' if purpose in in_force else 'no':4} ({how})",
            f"  {english}",
            f"  {japanese}",
        ]
    if Purpose.POLLING in in_force and settings.polling is Consent.NEVER:
        lines.append("The setting polling is `never`: the box asks nothing all the same.")
    return "\n".join(lines)
