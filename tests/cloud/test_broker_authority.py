"""mosquitto by `broker-config` with certificates of our own authority: root, limited issuer, revocation list."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from brokers import HOST, Mosquitto, free_port
from packbook.__main__ import main
from packbook.adapters.authority import CA_FILE, CRL_FILE, Authority, add_issuer, fingerprint_of, make_root
from packbook.adapters.collector import probe
from packbook.adapters.mqtt import BrokerAddress, Link, Message, TlsFiles
from packbook.app.demo_trust import DemoTrust
from packbook.clock import now_ms
from packbook.core.enrolment import Issued
from packbook.ports.trouble import AuthorityError, BrokerError
from packbox.adapters.uplink import MqttUplink, UplinkSettings
from packbox.adapters.uplink import TlsFiles as BoxFiles
from packbox.core.record import BoxId
from packbox.ports import LinkDownError

COLLECTOR = "collector-0"
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <(ssl.SSLSocket|packwire.tls._Watched):pytest.PytestUnraisableExceptionWarning"
)


@dataclass
class Fleet:
    trust: DemoTrust
    folder: Path
    etc: Path
    broker: Mosquitto

    def box(self, name: str) -> tuple[BoxId, UplinkSettings, x509.Certificate]:
        identity = self.trust.box(self.folder / name)
        certificate = x509.load_pem_x509_certificate(identity.cert.read_bytes())
        box = BoxId(str(certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value))
        files = BoxFiles(identity.ca, identity.cert, identity.key)
        return box, UplinkSettings(HOST, self.broker.port, tls=files), certificate

    def address(self) -> BrokerAddress:
        mine = self.trust.collector
        return BrokerAddress(HOST, self.broker.port, COLLECTOR, tls=TlsFiles(mine.ca, mine.cert, mine.key))


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """As an operator sets it up: files of the authority, copied to where the configuration says."""
    trust, etc, port = DemoTrust(tmp_path, HOST, COLLECTOR), tmp_path / "etc", free_port()
    (tmp_path / "data").mkdir()
    where = ["--etc", str(etc), "--data", str(tmp_path / "data"), "--bind", HOST, "--port", str(port)]
    assert main(["broker-config", "--out", str(etc), *where]) == 0
    files = {"ca.pem": trust.ca, "crl.pem": trust.crl, "server.pem": trust.broker.cert, "server.key": trust.broker.key}
    for name, source in files.items():
        (etc / name).write_bytes(source.read_bytes())
    with Mosquitto.of_config(etc / "mosquitto.conf", port) as broker:
        yield Fleet(trust, tmp_path, etc, broker)


async def test_a_record_goes_from_an_enrolled_box_to_the_collector(fleet: Fleet) -> None:
    """Root, issuer with its limits, chain in the box's file: mosquitto must follow them all."""
    box, settings, _ = fleet.box("box")
    heard: asyncio.Queue[Message] = asyncio.Queue()
    await probe(fleet.address())
    link = Link(fleet.address(), heard.put_nowait)
    await link.open(["pb/v1/+/r"])
    try:
        await probe(fleet.address())  # a doctor beside the running collector
        async with MqttUplink(settings, box) as uplink, asyncio.timeout(15):
            await uplink.publish(b"record")
            message = await heard.get()
        assert (message.topic, message.payload) == (f"pb/v1/{box}/r", b"record")
        assert link.up, "the doctor's knock must not throw the collector out"
    finally:
        await link.close()


async def test_a_revoked_box_is_shut_out_and_the_others_are_not(fleet: Fleet) -> None:
    """What `packbook revoke` writes is what mosquitto reads."""
    box, settings, certificate = fleet.box("thief")
    other, other_settings, _ = fleet.box("honest")
    authority = Authority(fleet.trust.ca.parent)
    issuer = fingerprint_of(authority.issuer.certificate)
    authority.write_revoked([_revoked(box, certificate, issuer)], now_ms())
    (fleet.etc / "crl.pem").write_bytes((fleet.trust.ca.parent / CRL_FILE).read_bytes())
    fleet.broker.stop()
    fleet.broker.start()
    with pytest.raises(LinkDownError, match="our certificate was revoked"):
        async with MqttUplink(settings, box):
            pass
    async with MqttUplink(other_settings, other) as uplink:
        await uplink.publish(b"record")
    gc.collect()


def _revoked(box: str, certificate: x509.Certificate, issuer: str) -> Issued:
    at_ms = now_ms()
    der = certificate.public_bytes(serialization.Encoding.DER)
    return Issued(f"{certificate.serial_number:x}", box, issuer, b"", None, at_ms, at_ms + 1, der, revoked_ms=at_ms)


async def test_the_certificate_of_another_fleet_is_of_no_use(fleet: Fleet, tmp_path: Path) -> None:
    """Every fleet has its own root, also when two run the same software."""
    elsewhere = DemoTrust(tmp_path / "elsewhere", HOST, COLLECTOR)
    mine = elsewhere.collector
    files = TlsFiles(fleet.trust.ca, mine.cert, mine.key)
    with pytest.raises(BrokerError, match="does not know the authority that made our certificate"):
        await probe(BrokerAddress(HOST, fleet.broker.port, COLLECTOR, tls=files))
    gc.collect()


@pytest.mark.parametrize("name", ["a" * 16, "collector.example", "", "a/b", "+", "x" * 64])
def test_a_collectors_name_is_never_that_of_a_box_or_host(tmp_path: Path, name: str) -> None:
    """It would read the fleet under a box's name, or be refused by OpenSSL for the issuer's limits."""
    add_issuer(make_root("test", now_ms()), tmp_path, now_ms())
    assert (tmp_path / CA_FILE).exists()
    with pytest.raises(AuthorityError, match="not the name of a box"):
        Authority(tmp_path).issue_client(name, tmp_path, now_ms())
