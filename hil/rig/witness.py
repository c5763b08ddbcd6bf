"""A book that only remembers: which records a box made known, byte for byte, before its power went.

In:  what a box publishes at a broker here; acknowledged as a book does, so that the box forgets them in time.
Out: `Witness.records`. A box sends a record only after it committed it: what is here, its card must hold ever after.
Refuses a record that comes a second time with other bytes: `doubled` names it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from packwire.ack import ack_of, encode_ack
from packwire.ids import StoreId
from packwire.presence import decode_status
from packwire.seal import peek
from packwire.topics import ROOT, Leaf, parse, topic

CONNECT_MAX_S: Final = 10.0
LOOK_EVERY_S: Final = 0.05
QOS: Final = 1


class Witness:
    """Listens from `with` on. May be read at any time; records are only added."""

    def __init__(
        self, host: str, port: int, *, mark: Callable[[], int] = lambda: 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.records: dict[tuple[str, int], bytes] = {}
        self.doubled: list[str] = []
        self.online_s: float | None = None  # when a box last said that it is there, by `clock`
        self.marks: dict[tuple[str, int], int] = {}  # what `mark` said when the record came
        self._mark = mark
        self._clock = clock
        self._host = host
        self._port = port
        self._ready = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="witness", protocol=mqtt.MQTTv311)
        self._client.on_connect = self._connected
        self._client.on_message = self._heard

    def __enter__(self) -> Self:
        self._client.connect(self._host, self._port)
        self._client.loop_start()
        assert self._ready.wait(CONNECT_MAX_S), "the broker does not answer"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def of_store(self, store: str) -> dict[int, bytes]:
        return {seq: sealed for (of, seq), sealed in list(self.records.items()) if of == store}

    def wait_for(self, count: int, *, within_s: float) -> bool:
        """Whether so many records came in time."""
        deadline = time.monotonic() + within_s
        while len(self.records) < count:
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK_EVERY_S)
        return True

    def _connected(self, client: mqtt.Client, *_: object) -> None:
        client.subscribe([(f"{ROOT}/+/{leaf.value}", QOS) for leaf in (Leaf.RECORD, Leaf.STATUS)])
        self._ready.set()

    def _heard(self, client: mqtt.Client, _: object, message: mqtt.MQTTMessage) -> None:
        address = parse(message.topic)
        assert address is not None, message.topic
        content = bytes(message.payload)
        if address.leaf is Leaf.STATUS:
            if not message.retain and decode_status(content).online:
                self.online_s = self._clock()
            return
        told = peek(content).envelope
        known = self.records.setdefault((told.store, told.seq), content)
        self.marks.setdefault((told.store, told.seq), self._mark())
        if known != content:
            self.doubled.append(f"record {told.seq} of store {told.store}")
        ack = encode_ack(ack_of(StoreId(told.store), self.of_store(told.store)))
        client.publish(topic(address.box, Leaf.ACK), ack, QOS, retain=True)
