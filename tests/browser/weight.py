"""What a first visit costs: bytes over the line, and how soon the largest thing on a page stands there.

The line and the computer are made slow by Chromium itself (CDP): `Slow` is a phone of the middle class on 4G with poor
reception, as Lighthouse simulates it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
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
        return without_charts_bytes(self.sent_bytes)


def without_charts_bytes(sent: Counter[str]) -> int:
    return sum(size for name, size in sent.items() if CHARTS not in name)


class Scales:
    """Counts what comes over the line to one page of a browser."""

    def __init__(self, page: Page) -> None:
        self.line = page.context.new_cdp_session(page)
        self._names: dict[str, str] = {}
        self._sent: Counter[str] = Counter()
        self.line.on("Network.responseReceived", self._answered)
        self.line.on("Network.loadingFinished", self._loaded)
        self.line.send("Network.enable")

    @contextmanager
    def weighing(self) -> Iterator[Counter[str]]:
        """As for somebody who was never here: nothing comes out of a cache."""
        self._names.clear()
        self._sent.clear()
        self.line.send("Network.setCacheDisabled", {"cacheDisabled": True})
        yield self._sent

    def _answered(self, event: dict[str, object]) -> None:
        response = event["response"]
        assert isinstance(response, dict)
        self._names[str(event["requestId"])] = str(response["url"]).split("?", maxsplit=1)[0]

    def _loaded(self, event: dict[str, object]) -> None:
        size = event["encodedDataLength"]
        assert isinstance(size, int | float)
        self._sent[self._names.get(str(event["requestId"]), "")] += int(size)


def first_visit(browser: Browser, served: Served, role: str, path: str, slow: Slow | None = None) -> Visit:
    """By somebody who was never here, on a phone."""
    with signed_in(browser, served, role, size=PHONE) as context:
        page = context.new_page()
        scales = Scales(page)
        if slow is not None:
            _hamper(scales, slow)
        with scales.weighing() as sent:
            page.goto(path, wait_until="load")
            at_ms, largest = page.evaluate(LCP)
        return Visit(sent, at_ms, largest)


def _hamper(scales: Scales, slow: Slow) -> None:
    speeds = {"downloadThroughput": slow.down_bit_per_s / 8, "uploadThroughput": slow.up_bit_per_s / 8}
    conditions = {"offline": False, "latency": slow.round_trip_ms, **speeds}
    scales.line.send("Network.emulateNetworkConditions", conditions)
    scales.line.send("Emulation.setCPUThrottlingRate", {"rate": slow.processor})
