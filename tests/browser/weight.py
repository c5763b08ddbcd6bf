"""What a first visit costs: bytes over the line, and how soon the largest thing on a page stands there.

The line and the computer are made slow by Chromium itself (CDP): `Slow` is a phone of the middle class on 4G with poor
reception, as Lighthouse simulates it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from playwright.sync_api import Browser, Page

from browser.drive import PHONE, signed_in
from browser.fleet import Served

CHARTS: Final = "/static/vendor/echarts"
LCP: Final = """() => new Promise((done) => {
    let last = null;
    new PerformanceObserver((list) => {
        last = list.getEntries().at(-1);
    }).observe({ type: "largest-contentful-paint", buffered: true });
    setTimeout(() => done(last && [last.startTime, last.element?.outerHTML.slice(0, 80) ?? ""]), 300);
})"""


@dataclass(frozen=True)
class Slow:
    down_bit_per_s: float = 1_600_000.0
    up_bit_per_s: float = 750_000.0
    round_trip_ms: float = 150.0
    processor: float = 4.0  # times slower than this computer


@dataclass(frozen=True)
class Visit:
    sent_bytes: Counter[str]  # compressed, with headers, by address without its query
    lcp_ms: float
    largest: str  # the element, as it begins

    @property
    def without_charts_bytes(self) -> int:
        return sum(size for name, size in self.sent_bytes.items() if CHARTS not in name)


def first_visit(browser: Browser, served: Served, role: str, path: str, slow: Slow | None = None) -> Visit:
    """By somebody who was never here: an empty cache, on a phone."""
    context = signed_in(browser, served, role, size=PHONE)
    try:
        return _visit(context.new_page(), path, slow)
    finally:
        context.close()


def _visit(page: Page, path: str, slow: Slow | None) -> Visit:
    line = page.context.new_cdp_session(page)
    names: dict[str, str] = {}
    sent: Counter[str] = Counter()

    def answered(event: dict[str, object]) -> None:
        response = event["response"]
        assert isinstance(response, dict)
        names[str(event["requestId"])] = str(response["url"]).split("?", maxsplit=1)[0]

    def loaded(event: dict[str, object]) -> None:
        size = event["encodedDataLength"]
        assert isinstance(size, int | float)
        sent[names.get(str(event["requestId"]), "")] += int(size)

    line.on("Network.responseReceived", answered)
    line.on("Network.loadingFinished", loaded)
    line.send("Network.enable")
    if slow is not None:
        speeds = {"downloadThroughput": slow.down_bit_per_s / 8, "uploadThroughput": slow.up_bit_per_s / 8}
        line.send("Network.emulateNetworkConditions", {"offline": False, "latency": slow.round_trip_ms, **speeds})
        line.send("Emulation.setCPUThrottlingRate", {"rate": slow.processor})
    page.goto(path, wait_until="load")
    at_ms, largest = page.evaluate(LCP)
    return Visit(sent, at_ms, largest)
