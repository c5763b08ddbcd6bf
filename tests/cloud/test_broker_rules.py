"""Who gets in and who may do what, at mosquitto as configured by us and at the demo's broker, over real sockets."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import aiomqtt
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

import packbox.__main__
from brokers import HOST, Mosquitto
from certificates import Authority, Pair
from cloud.guarded_brokers import COLLECTOR, OPERATOR, WAIT_S, A, B, Guarded, bad_pair, configured_mosquitto, guarded
from packbook.adapters.collector import probe
from packbook.adapters.mqtt import BrokerAddress, Link, TlsFiles
from packbook.ports.trouble import BrokerError
from packbox.adapters.uplink import MqttUplink, UplinkSettings
from packbox.adapters.uplink import TlsFiles as BoxFiles
from packbox.core.record import BoxId
from packbox.ports import LinkDownError
from packwire.topics import Leaf

UP, DOWN = ("r", "h", "s"), ("ack", "c", "x")
KINDS = ["mosquitto", "demo"]
# paho leaves the socket of a failed handshake to the garbage collector
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <(ssl.SSLSocket|packwire.tls._Watched):pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(params=KINDS)
async def broker(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Guarded]:
    async with guarded(request.param, tmp_path) as running:
        yield running


def topic(box: str, leaf: str) -> str:
    return f"pb/v1/{box}/{leaf}"


async def heard_until(client: aiomqtt.Client, last: bytes) -> set[str]:
    """Topics of everything that came before the message `last`."""
    heard = set()
    async with asyncio.timeout(WAIT_S):
        async for message in client.messages:
            if message.payload == last:
                return heard
            heard.add(message.topic.value)
    raise AssertionError("cut off")


# --- publishing -------------------------------------------------------------------------------------------------


async def test_a_box_writes_its_own_three_topics_and_nothing_else(broker: Guarded) -> None:
    """Nobody may write into another's history, nor pretend to be the book."""
    async with broker.client(COLLECTOR) as book, broker.client(B) as other:
        for leaf in UP:
            await book.subscribe(f"pb/v1/+/{leaf}", qos=1)
        for leaf in DOWN:
            await other.subscribe(topic(B, leaf), qos=1)
        for name in (A, B):
            for leaf in (*UP, *DOWN):
                with suppress(aiomqtt.MqttError):  # mosquitto cuts off who tries what he may not
                    async with broker.client(A) as box:
                        await box.publish(topic(name, leaf), b"x", qos=1, retain=leaf in ("s", "ack", "c"))
        async with broker.client(A) as box:
            await box.publish(topic(A, "r"), b"last", qos=1)
        assert await heard_until(book, b"last") == {topic(A, leaf) for leaf in UP}
        await book.publish(topic(B, "ack"), b"last", qos=1)
        assert await heard_until(other, b"last") == set()
    async with broker.client(B) as later:  # and nothing was retained for later
        await later.subscribe([(topic(B, leaf), 1) for leaf in ("ack", "c")])
        async with broker.client(COLLECTOR) as book:
            await book.publish(topic(B, "c"), b"last", qos=1)
        assert await heard_until(later, b"last") <= {topic(B, "ack")}


def refusal(broker: Guarded, name: str, where: str) -> int:
    """Reason code of a publish over MQTT 5: 0 or 0x10 allowed, 0x87 denied."""
    pair = broker.authority.issue(name)
    codes: list[int] = []
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=MQTTProtocolVersion.MQTTv5)
    client.tls_set(str(broker.authority.file), str(pair.cert), str(pair.key))

    def on_publish(_c: object, _u: object, _m: int, reason: ReasonCode, _p: object) -> None:
        codes.append(reason.value)
        client.disconnect()

    def on_connect(_c: object, _u: object, _f: object, _reason: ReasonCode, _p: object) -> None:
        client.publish(where, b"x", qos=1)

    client.on_publish, client.on_connect = on_publish, on_connect
    client.connect(HOST, broker.port)
    client.loop_forever()
    return codes[0]


@pytest.mark.parametrize(
    ("name", "allowed", "denied"),
    [
        (
            A,
            [topic(A, leaf) for leaf in UP],
            [topic(A, leaf) for leaf in DOWN]
            + [topic(B, leaf) for leaf in (*UP, *DOWN)]
            + ["elsewhere", "pb/v1", f"pb/v1/{A}", f"pb/v2/{A}/r", f"pb/v1/{A}/r/r", "pb/v1//r", f"pb/v1/{COLLECTOR}/r"]
            + ["$SYS/broker/version", "$CONTROL/dynamic-security/v1"],
        ),
        (COLLECTOR, [topic(B, leaf) for leaf in DOWN], [topic(B, leaf) for leaf in UP] + ["elsewhere"]),
        (OPERATOR, [topic(B, "c"), topic(B, "x")], [topic(B, "ack"), topic(B, "r"), "elsewhere"]),
    ],
    ids=["box", "collector", "operator"],
)
def test_mosquitto_says_which_topics_it_denies(
    tmp_path: Path, name: str, allowed: list[str], denied: list[str]
) -> None:
    """The whole table. A box that is denied hears it (MQTT 5) instead of sending for ever."""
    with configured_mosquitto(tmp_path) as broker:
        assert {where: refusal(broker, name, where) for where in allowed}.items() <= {
            (where, code) for where in allowed for code in (0x00, 0x10)
        }
        assert {where: refusal(broker, name, where) for where in denied} == dict.fromkeys(denied, 0x87)


# --- receiving --------------------------------------------------------------------------------------------------


async def everybody_speaks(broker: Guarded, last: bytes) -> None:
    """One message on each topic of two boxes by whoever may; `last` on A's ack at the end."""
    async with broker.client(B) as other:
        for leaf in UP:
            await other.publish(topic(B, leaf), b"x", qos=1, retain=leaf == "s")
    async with broker.client(COLLECTOR) as book:
        for name in (A, B):
            for leaf in DOWN:
                await book.publish(topic(name, leaf), b"x", qos=1, retain=leaf != "x")
        await book.publish(topic(A, "ack"), last, qos=1)


GREEDY = [
    "#", "pb/#", "pb/v1/#", "+/+/+/+", "pb/v1/+/ack", "pb/v1/+/r", "pb/v1/+/s", f"pb/v1/{B}/ack", f"pb/v1/{B}/c",
    f"pb/v1/{B}/x", f"pb/v1/{B}/s", f"pb/v1/{B}/#", f"pb/v1/{A}/#", f"pb/v1/{A}/+", "$SYS/#", "$share/book/pb/v1/+/r",
    f"$share/book/pb/v1/{B}/ack", "$share/book/#",
]  # fmt: skip


async def test_a_box_hears_its_own_three_topics_whatever_it_subscribes_to(broker: Guarded) -> None:
    """Wildcards, other boxes, retained states, the broker's inside, the collectors' shared subscription."""
    async with broker.client(A) as box:
        await box.subscribe(topic(A, "ack"), qos=1)
        for greedy in GREEDY:
            await box.subscribe(greedy, qos=1)
        await everybody_speaks(broker, b"last")
        assert await heard_until(box, b"last") <= {topic(A, leaf) for leaf in DOWN}
    async with broker.client(A) as box:  # what is retained now, at once on subscribing
        for greedy in GREEDY:
            await box.subscribe(greedy, qos=1)
        await box.subscribe(topic(A, "x"), qos=1)
        async with broker.client(COLLECTOR) as book:
            await book.publish(topic(A, "x"), b"last", qos=1)
        assert await heard_until(box, b"last") <= {topic(A, leaf) for leaf in DOWN}


async def test_a_box_hears_each_of_its_topics_also_later(broker: Guarded) -> None:
    """The other half of the rule: what it may have, it gets, retained too."""
    await everybody_speaks(broker, b"earlier")
    async with broker.client(A) as box:
        await box.subscribe([(topic(A, leaf), 1) for leaf in DOWN])
        async with broker.client(COLLECTOR) as book:
            await book.publish(topic(A, "x"), b"last", qos=1)
        assert await heard_until(box, b"last") == {topic(A, "ack"), topic(A, "c")}


async def test_nobody_is_sent_what_another_one_subscribed_to(broker: Guarded) -> None:
    """amqtt by itself sends every newcomer all retained messages that match anybody's subscription."""
    async with broker.client(COLLECTOR) as book:
        await book.subscribe([(f"pb/v1/+/{leaf}", 1) for leaf in UP])
        async with broker.client(B) as other:
            await other.publish(topic(B, "s"), b"online", qos=1, retain=True)
            async with broker.client(A) as box:
                await box.subscribe(topic(A, "ack"), qos=1)
                await book.publish(topic(A, "ack"), b"last", qos=1)
                assert await heard_until(box, b"last") == set()


async def test_a_collector_hears_every_box_and_only_what_goes_up(broker: Guarded) -> None:
    """Also the states of boxes that spoke before it came."""
    async with broker.client(A) as box, broker.client(COLLECTOR) as book:
        await box.publish(topic(A, "s"), b"online", qos=1, retain=True)
        for leaf in (*UP, *DOWN):
            await book.subscribe(f"pb/v1/+/{leaf}", qos=1)
        await book.subscribe("#", qos=1)
        async with broker.client(B) as other:
            for leaf in UP:
                await other.publish(topic(B, leaf), b"x", qos=1)
        await book.publish(topic(B, "ack"), b"x", qos=1)
        await box.publish(topic(A, "r"), b"last", qos=1)
        assert await heard_until(book, b"last") == {topic(A, "s"), *(topic(B, leaf) for leaf in UP)}


# --- names ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("victim", [A, COLLECTOR])
async def test_nobody_is_thrown_out_by_one_who_takes_his_name(broker: Guarded, victim: str) -> None:
    """MQTT ends the older of two connections of one client id: a box could silence the fleet, or the book."""
    leaf = "ack" if victim == A else "r"
    async with broker.client(victim) as there:
        await there.subscribe(topic(A, "ack") if victim == A else "pb/v1/+/r", qos=1)
        for clean in (True, False):
            with suppress(aiomqtt.MqttError):  # the demo's broker refuses, mosquitto calls it by its own name
                async with broker.client(B, identifier=victim, clean_session=clean) as thief:
                    await thief.subscribe(topic(victim, "ack"), qos=1)
                    await thief.publish(topic(victim, "r"), b"forged", qos=1)
        name = COLLECTOR if victim == A else A
        async with broker.client(name) as friend:
            await friend.publish(topic(A, leaf), b"last", qos=1)
        assert await heard_until(there, b"last") == set()


async def test_a_will_may_not_say_what_its_client_may_not(broker: Guarded) -> None:
    """Else a box could have the broker announce that another one is gone, retained."""
    forged = aiomqtt.Will(topic(B, "s"), b"offline lost", qos=1, retain=True)
    async with broker.client(COLLECTOR) as book:
        await book.subscribe("pb/v1/+/s", qos=1)
        with suppress(aiomqtt.MqttError):  # the second connection cuts off the first without goodbye
            async with broker.client(A, will=forged), broker.client(A):
                pass
        async with broker.client(A) as box:
            await box.publish(topic(A, "s"), b"last", qos=1)
        assert await heard_until(book, b"last") == set()


# --- certificates -----------------------------------------------------------------------------------------------

BAD = {
    "none": "wants a certificate and we gave none",
    "expired": "our certificate has run out",
    "not yet valid": "perhaps it is not valid yet by the broker's clock",
    "other authority": "does not know the authority that made our certificate",
    "revoked": "our certificate was revoked",
    "not for clients": "not made for clients",
}


def box_files(broker: Guarded, pair: Pair | None) -> BoxFiles:
    return BoxFiles(broker.authority.file, pair and pair.cert, pair and pair.key)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", BAD)
async def test_a_box_with_a_bad_certificate_stays_outside_and_knows_why(tmp_path: Path, kind: str, bad: str) -> None:
    """The installer at the car reads one line: it must name the cause, not 'unspecified error'."""
    async with guarded(kind, tmp_path, A) as broker:
        files = box_files(broker, bad_pair(bad, broker.authority, A))
        settings = UplinkSettings(HOST, broker.port, "3.1.1", tls=files)
        said = BAD[bad] if kind == "mosquitto" else "closed before the broker answered"  # asyncio sends no alert
        with pytest.raises(LinkDownError, match=said):
            async with MqttUplink(settings, BoxId(A)):
                pass
        gc.collect()


@pytest.mark.parametrize("bad", BAD)
async def test_a_collector_with_a_bad_certificate_stays_outside_and_knows_why(tmp_path: Path, bad: str) -> None:
    """Both ways: the running collector's connection, and the doctor's knock."""
    async with guarded("mosquitto", tmp_path, COLLECTOR) as broker:
        pair = bad_pair(bad, broker.authority, COLLECTOR)
        files = TlsFiles(broker.authority.file, pair and pair.cert, pair and pair.key)
        address = BrokerAddress(HOST, broker.port, COLLECTOR, session_expiry_s=0, tls=files)
        with pytest.raises(BrokerError, match=BAD[bad]):
            await probe(address)
        link = Link(address, lambda _message: None)
        with pytest.raises(BrokerError, match=BAD[bad]):
            await link.open(())
        await link.close()
        gc.collect()


@pytest.mark.parametrize("bad", [*BAD, "wrong name", "good"])
def test_the_boxs_doctor_says_it_too(
    tmp_path: Path, root: Path, bad: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without logging in: the box may be running, and both have one name."""
    with configured_mosquitto(tmp_path, A) as broker:
        good = broker.authority.issue(B)
        pair = good if bad in ("wrong name", "good") else bad_pair(bad, broker.authority, A)
        said = {"wrong name": "for another name", "good": "answers"}.get(bad) or BAD[bad]
        chosen = {"CERT_FILE": pair.cert, "KEY_FILE": pair.key} if pair else {}
        files = {"CA_FILE": broker.authority.file, **chosen}
        host = "localhost" if bad == "wrong name" else HOST
        for name, value in {"HOST": host, "PORT": broker.port, "TLS": "true", **files}.items():
            monkeypatch.setenv(f"PACKBOX_BROKER__{name}", str(value))
        monkeypatch.setenv("PACKBOX_PROFILES_DIR", str(root / "can_profiles"))
        capsys.readouterr()
        packbox.__main__.main(["doctor", "--data-dir", str(tmp_path / "box"), "--json"])
        found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        verdict, text = next((f["verdict"], f["text"]) for f in found if f["check"] == "broker")
        assert said in text
        assert verdict == ("OK" if bad == "good" else "FAIL")


@pytest.mark.parametrize("begins_ends", ["early", "late", "name", "stranger"])
async def test_a_broker_that_cannot_be_believed_is_named(tmp_path: Path, begins_ends: str) -> None:
    """A clock that was never set is the usual cause on a box; a wrong address the usual one in the office."""
    ours = Authority(tmp_path / "pki")
    theirs = Authority(tmp_path / "other") if begins_ends == "stranger" else ours
    hour = timedelta(hours=1)
    times = {"early": {"begins": hour}, "late": {"ends": -hour / 2}}.get(begins_ends, {})
    host = "broker.example" if begins_ends == "name" else HOST
    server = theirs.issue(host, file="server", server=True, host=host, **times)  # type: ignore[arg-type]
    said = {
        "early": "not valid yet: is our clock unset or behind",
        "late": "has run out, or our clock is ahead",
        "name": "for another name",
        "stranger": "an authority that we do not know",
    }[begins_ends]
    with Mosquitto(tmp_path, options=f"certfile {server.cert}\nkeyfile {server.key}") as broker:
        with pytest.raises(LinkDownError, match=said):
            async with MqttUplink(UplinkSettings(HOST, broker.port, tls=BoxFiles(ours.file)), BoxId(A)):
                pass
        address = BrokerAddress(HOST, broker.port, COLLECTOR, session_expiry_s=0, tls=TlsFiles(ours.file))
        with pytest.raises(BrokerError, match=said):
            await probe(address)
        gc.collect()


async def test_a_renewed_certificate_is_used_at_the_next_connection(tmp_path: Path) -> None:
    """No restart of box or collector: renewal happens while they run."""
    with configured_mosquitto(tmp_path) as broker:
        old = broker.authority.issue(A, file="box", ends=-timedelta(minutes=5))
        settings = UplinkSettings(HOST, broker.port, tls=box_files(broker, old))
        with pytest.raises(LinkDownError, match="has run out"):
            async with MqttUplink(settings, BoxId(A)):
                pass
        broker.authority.issue(A, file="box")
        async with MqttUplink(settings, BoxId(A)) as uplink:
            await uplink.publish(b"record")
        gc.collect()


async def test_the_collector_takes_its_renewed_certificate_too(tmp_path: Path) -> None:
    """Its settings are read once, its files at each connection."""
    with configured_mosquitto(tmp_path) as broker:
        pair = broker.authority.issue(COLLECTOR, file="book", ends=-timedelta(minutes=5))
        files = TlsFiles(broker.authority.file, pair.cert, pair.key)
        address = BrokerAddress(HOST, broker.port, COLLECTOR, tls=files)
        for text in (["pb/v1/+/r"], ["pb/v1/+/r"]):
            link = Link(address, lambda _message: None)
            try:
                await link.open(text)
            except BrokerError as problem:
                assert "has run out" in str(problem)  # noqa: PT017 - the first of two
                broker.authority.issue(COLLECTOR, file="book")
            else:
                assert link.up
            finally:
                await link.close()
        gc.collect()


async def test_a_new_revocation_list_counts_after_a_reload(tmp_path: Path) -> None:
    """`packbook revoke` writes the list; `systemctl reload mosquitto` makes it count for who connects from then on."""
    with configured_mosquitto(tmp_path) as broker:
        assert broker.mosquitto is not None
        pair = broker.authority.issue(A)
        settings = UplinkSettings(HOST, broker.port, tls=box_files(broker, pair))
        async with MqttUplink(settings, BoxId(A)) as uplink:
            await uplink.publish(b"record")
        (tmp_path / "etc" / "crl.pem").write_bytes(broker.authority.revocation_list(pair).read_bytes())
        broker.mosquitto.reload()
        async with asyncio.timeout(WAIT_S):
            while True:
                try:
                    async with MqttUplink(settings, BoxId(A)):
                        await asyncio.sleep(0)
                except LinkDownError as problem:
                    assert "revoked" in str(problem)  # noqa: PT017 - mosquitto reads the signal when it likes
                    break
        gc.collect()


async def test_the_largest_message_of_the_contract_gets_through_and_a_larger_one_does_not(tmp_path: Path) -> None:
    """128 kB is the limit of the wire; more than that is nobody's record, and must not cost the broker its memory."""
    with configured_mosquitto(tmp_path) as broker:
        async with broker.client(COLLECTOR, protocol=aiomqtt.ProtocolVersion.V5) as book:
            await book.subscribe("pb/v1/+/r", qos=1)
            for count in (140_000, 131_072):
                with suppress(aiomqtt.MqttError):
                    async with broker.client(A, protocol=aiomqtt.ProtocolVersion.V5) as box:
                        await box.publish(topic(A, Leaf.RECORD), bytes(count), qos=1, timeout=1)
            async with asyncio.timeout(WAIT_S):
                message = await anext(aiter(book.messages))
            assert len(message.payload) == 131_072  # type: ignore[arg-type]
