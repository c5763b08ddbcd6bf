"""`packbox raw`: what raw frames this box kept (setting `raw_ring_mb`), and those frames as a log for other programs.

In:  the ring in the data folder, also while the box runs.
Out: one line per start of the box, or a candump, BLF or ASC file.
Frames of a start whose wall time was never learned have no place among dated ones: they are left out, saying so, or
exported alone with `--undated`, in seconds since that start.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from packbox.adapters.ring import FOLDER, read_ring
from packbox.adapters.ring_block import RawBlock
from packbox.app.options import add_settings_options, settings_from
from packbox.core.stamp import NS_PER_MS, BootId
from packbox.ports import PackboxError

FORMATS: Final = ("candump", "blf", "asc")


class NoFramesError(PackboxError):
    """There is nothing to export. Nothing was written."""


@dataclass(slots=True)
class Boot:
    """One start of the box, as far as its frames are still here."""

    boot: BootId
    frames: int
    first_mono_ms: int
    last_mono_ms: int
    wall_offset_ms: int | None  # the newest that was known: it dates earlier frames too
    buses: tuple[str, ...]

    @property
    def first_wall_ms(self) -> int | None:
        return None if self.wall_offset_ms is None else self.first_mono_ms + self.wall_offset_ms


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    info = actions.add_parser("info", help="what is there")
    add_settings_options(info)
    info.add_argument("--json", action="store_true", help="one JSON object per start of the box")
    export = actions.add_parser("export", help="write a log that other programs read")
    add_settings_options(export)
    export.add_argument("file", type=Path, metavar="FILE", help="where to; its ending tells the format: .log .blf .asc")
    export.add_argument("--format", choices=FORMATS, help="stronger than the ending; .log is candump")
    export.add_argument("--since", type=_moment, metavar="TIME", help="not before, for example 2026-05-04T18:00 (UTC)")
    export.add_argument("--until", type=_moment, metavar="TIME", help="not after (UTC)")
    export.add_argument("--undated", action="store_true", help="instead: the frames whose wall time is not known")


def main(args: argparse.Namespace) -> int:
    try:
        folder = settings_from(args).data_dir / FOLDER
        boots = _boots(folder)
        if args.action == "info":
            _show(boots, as_json=args.json)
        else:
            _export(folder, boots, args)
    except (PackboxError, OSError) as problem:
        print(f"packbox raw: {problem}", file=sys.stderr)
        return 1
    return 0


def _boots(folder: Path) -> list[Boot]:
    """In the order of their wall time; those without at the end."""
    found: dict[BootId, Boot] = {}
    for block in read_ring(folder):
        frames = block.frames
        first_ms, last_ms = int(frames.mono_ns[0]) // NS_PER_MS, int(frames.mono_ns[-1]) // NS_PER_MS
        seen = found.setdefault(frames.boot, Boot(frames.boot, 0, first_ms, last_ms, None, block.bus_names))
        seen.frames += len(frames)
        seen.last_mono_ms = last_ms
        if frames.wall_offset_ms is not None:
            seen.wall_offset_ms = frames.wall_offset_ms
    return sorted(found.values(), key=lambda boot: (boot.first_wall_ms is None, boot.first_wall_ms or 0))


def _show(boots: list[Boot], *, as_json: bool) -> None:
    for boot in boots:
        if as_json:
            print(json.dumps(asdict(boot)))
            continue
        begin = "date unknown" if boot.first_wall_ms is None else _text(boot.first_wall_ms)
        minutes = (boot.last_mono_ms - boot.first_mono_ms) / 60_000
        print(f"{begin}  {minutes:8.1f} min  {boot.frames:>10} frames  boot {boot.boot}  {','.join(boot.buses)}")
    if not boots and not as_json:
        print("no raw frames: they are kept from the moment that raw_ring_mb is set")


def _export(folder: Path, boots: list[Boot], args: argparse.Namespace) -> None:
    from packbox.adapters.raw_export import FORMAT_OF, WRITERS

    kind = args.format or FORMAT_OF.get(args.file.suffix.lower())
    if kind is None:
        raise NoFramesError(f"{args.file}: which format? End the name with {', '.join(FORMAT_OF)}, or give --format")
    chosen = [boot for boot in boots if (boot.wall_offset_ms is None) == args.undated]
    blocks = _chosen_blocks(folder, chosen, args.since, args.until)
    first = next(blocks, None)
    if first is None:
        raise NoFramesError("no such frames are here; `packbox raw info` tells what is")
    writer, count = WRITERS[kind](args.file), 0
    try:
        for block in (first, *blocks):
            writer.write(block.frames, block.bus_names)
            count += len(block.frames)
    finally:
        writer.close()
    left_out = sum(boot.frames for boot in boots if boot.wall_offset_ms is None and not args.undated)
    more = f"; {left_out} frames without a date left out (--undated exports them)" if left_out else ""
    print(f"{count} frames in {args.file}{more}", file=sys.stderr)


def _chosen_blocks(folder: Path, boots: list[Boot], since_ms: int | None, until_ms: int | None) -> Iterator[RawBlock]:
    """Boot after boot, dated by what is known best, cut to the time that was asked for."""
    for boot in boots:
        offset_ms = boot.wall_offset_ms or 0
        for block in read_ring(folder):
            if block.frames.boot != boot.boot:
                continue
            wall_ms = block.frames.mono_ns // NS_PER_MS + offset_ms
            wanted = wall_ms >= (since_ms or 0)
            if until_ms is not None:
                wanted &= wall_ms <= until_ms
            if wanted.any():
                frames = replace(block.frames.pick(wanted), wall_offset_ms=boot.wall_offset_ms)
                yield RawBlock(frames, block.bus_names)


def _moment(text: str) -> int:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a time such as 2026-05-04T18:00") from None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def _text(wall_ms: int) -> str:
    return datetime.fromtimestamp(wall_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
