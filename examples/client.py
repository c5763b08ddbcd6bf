"""A client of Packbook's API: lists batteries, has the evidence of each checked, then follows what changes.

python client.py http://127.0.0.1:8080            # BOOK_KEY=pbk_... where the book has accounts
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

Json = dict[str, Any]


def batteries(book: httpx.Client) -> Iterator[Json]:
    """Part by part."""
    offset: int | None = 0
    while offset is not None:
        part = book.get("/api/v1/batteries", params={"limit": 100, "offset": offset}).raise_for_status().json()
        yield from part["batteries"]
        offset = part["next_offset"]


def evidence(book: httpx.Client, battery: str, folder: Path) -> bool:
    """All signed records of a battery as one file; is every one of them as its box signed it?"""
    file = folder / f"{battery}.packbook"
    file.write_bytes(book.get(f"/api/v1/batteries/{battery}/bundle").raise_for_status().content)
    check = [sys.executable, "-m", "packbook", "verify", str(file)]
    return subprocess.run(check, check=False, stdout=subprocess.DEVNULL).returncode == 0


def changes(book: httpx.Client) -> Iterator[Json]:
    """Names of what changed, for ever: after a lost line it goes on where it was. null: many, ask for the lists."""
    headers: dict[str, str] = {}
    while True:
        with book.stream("GET", "/api/v1/live", headers=headers, timeout=httpx.Timeout(10, read=60)) as answer:
            answer.raise_for_status()
            event: dict[str, str] = {}
            for line in answer.iter_lines():
                if line:
                    name, _, value = line.partition(": ")
                    event[name] = value
                    continue
                if "id" in event:
                    headers["Last-Event-ID"] = event["id"]
                if event.get("event") in ("ready", "changed"):
                    yield json.loads(event["data"])
                event = {}


if __name__ == "__main__":
    key = os.environ.get("BOOK_KEY")
    with httpx.Client(base_url=sys.argv[1], headers={"Authorization": f"Bearer {key}"} if key else {}) as client:
        for known in batteries(client):
            soh = known["soh"] and known["soh"]["soh_pct"]
            print(known["battery"], "no value yet" if soh is None else f"{soh:.1f} %", flush=True)
            print(
                "evidence holds" if evidence(client, known["battery"], Path()) else "EVIDENCE DOES NOT HOLD", flush=True
            )
        for change in changes(client):
            print("changed:", change, flush=True)
