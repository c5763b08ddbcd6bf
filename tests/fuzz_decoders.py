"""One entry per decoder that meets a stranger's bytes, for `make fuzz` and for the bounded fuzzing of `make test`.

In:  any bytes.
Out: nothing. What a decoder may raise is its contract; anything else is a finding. What it takes, it must give back
byte for byte: otherwise one meaning had two forms, and a digest or signature would not be what it says.

`python tests/fuzz_decoders.py NAME --seconds 60`: coverage-guided, with atheris, seeded from the released examples.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import cbor2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ROOT = Path(__file__).resolve().parents[1]
RELEASED = ROOT / "wire/packwire/released"
MAX_BYTES = 4096  # longer inputs find the same branches more slowly
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))  # that of the released examples
PUBLIC = KEY.public_key().public_bytes_raw()


def cbor(data: bytes) -> None:
    from packwire.cbor import dumps, loads
    from packwire.errors import Malformed

    try:
        value = loads(data)
    except Malformed:
        return
    assert dumps(value) == data


def record(data: bytes) -> None:
    from packwire.errors import WireError
    from packwire.seal import check, peek, read

    try:
        sealed = peek(data)
    except WireError:
        return
    assert sealed.sealed == data
    for further in (lambda: read(sealed), lambda: check(sealed, PUBLIC)):
        try:
            further()
        except WireError:
            continue


def ack(data: bytes) -> None:
    from packwire.ack import decode_ack, encode_ack
    from packwire.errors import Malformed

    try:
        taken = decode_ack(data)
    except Malformed:
        return
    assert decode_ack(encode_ack(taken)) == taken


def heartbeat(data: bytes) -> None:
    from packwire.errors import Malformed
    from packwire.presence import decode_heartbeat, encode_heartbeat

    try:
        health = decode_heartbeat(data)
    except Malformed:
        return
    assert decode_heartbeat(encode_heartbeat(health)) == health


def status(data: bytes) -> None:
    from packwire.errors import Malformed
    from packwire.presence import decode_status, encode_status

    try:
        taken = decode_status(data)
    except Malformed:
        return
    assert decode_status(encode_status(taken)) == taken


def intake(data: bytes) -> None:
    """The whole door of the book: it may never raise. The first byte picks the topic."""
    from packbook.core.intake import Arrival, read
    from packwire.ids import box_id_of
    from packwire.topics import Leaf

    leaf = list(Leaf)[data[0] % len(Leaf)] if data else Leaf.RECORD
    read(Arrival(f"pb/v1/{box_id_of(PUBLIC)}/{leaf.value}", data[1:], 0), {})


def signed(data: bytes) -> None:
    """The same for a hostile box: whatever it puts into a payload carries its good signature."""
    from packbook.core.intake import Arrival, Unready, read
    from packwire.ids import box_id_of, key_id_of

    box, key_id = box_id_of(PUBLIC), key_id_of(PUBLIC)
    reading = read(Arrival(f"pb/v1/{box}/r", sealed_by_key(data), 2**42), {(box, key_id): PUBLIC})
    assert not isinstance(reading, Unready)


def sealed_by_key(payload: bytes) -> bytes:
    from packwire.cbor import dumps
    from packwire.ids import box_id_of, key_id_of
    from packwire.seal import PROTECTED

    topic_bytes = f"pb/v1/{box_id_of(PUBLIC)}/r".encode()
    signature = KEY.sign(dumps(["Signature1", PROTECTED, topic_bytes, payload]))
    return dumps(cbor2.CBORTag(18, [PROTECTED, {4: key_id_of(PUBLIC)}, payload, signature]))


def topic(data: bytes) -> None:
    from packwire.topics import parse
    from packwire.topics import topic as written

    address = parse(data.decode(errors="replace"))
    if address is not None:
        assert written(address.box, address.leaf).encode() == data


def binding(data: bytes) -> None:
    """What a certificate request says about the record key."""
    from packwire.enrolment import bound_key
    from packwire.errors import WireError

    with suppress(WireError):
        bound_key(data, PUBLIC)


def config(data: bytes) -> None:
    """Of anybody, and of an operator whose tool went wrong."""
    from packwire.config import decode_config

    _whole(data, "c", decode_config)


def command(data: bytes) -> None:
    from packwire.command import decode_command

    _whole(data, "x", decode_command)


def _whole(data: bytes, leaf: str, decode: Callable[..., object]) -> None:
    from packwire.errors import WireError
    from packwire.ids import box_id_of
    from packwire.signed import sign_whole

    box = box_id_of(PUBLIC)
    for form in (data, sign_whole(data, f"pb/v1/{box}/{leaf}", KEY.sign, PUBLIC)):
        with suppress(WireError):
            decode(form, box, PUBLIC)


def bundle(data: bytes) -> None:
    from packwire.bundle import decode_bundle
    from packwire.errors import WireError

    with suppress(WireError):
        decode_bundle(data)


DECODERS: dict[str, Callable[[bytes], None]] = {
    decoder.__name__: decoder
    for decoder in (cbor, record, ack, heartbeat, status, topic, intake, signed, binding, config, command, bundle)
}


def examples() -> Iterator[bytes]:
    """Every message ever released, as it travelled."""
    for file in sorted(RELEASED.rglob("*.json")):
        for value in json.loads(file.read_text(encoding="utf-8")).values():
            if isinstance(value, str) and len(value) > 8 and set(value) <= set("0123456789abcdef"):
                yield bytes.fromhex(value[: len(value) & ~1])
    yield from (b"online", b"offline stopped", b"offline lost", b"pb/v1/0123456789abcdef/r")


def shaped(decoder: str, example: bytes) -> bytes:
    """An example as this decoder takes it."""
    if decoder == "intake":
        return b"\0" + example
    if decoder == "signed" and example.startswith(b"\xd2"):
        payload: bytes = cbor2.loads(example).value[2]
        return payload
    return example


def main() -> None:
    if sys.argv[1:] == ["--names"]:
        print(*DECODERS)
        return
    import argparse

    import atheris  # type: ignore[import-untyped]  # it ships no types

    parser = argparse.ArgumentParser(prog="fuzz_decoders", description=__doc__)
    parser.add_argument("decoder", choices=DECODERS)
    parser.add_argument("--seconds", type=int, default=60)
    args = parser.parse_args()
    with atheris.instrument_imports(include=["packwire", "packbook"]):
        for module in ("ack", "bundle", "cbor", "command", "config", "enrolment", "presence", "seal", "topics"):
            importlib.import_module(f"packwire.{module}")
        importlib.import_module("packbook.core.intake")
    with tempfile.TemporaryDirectory(prefix="packbook-fuzz-") as corpus:
        for number, data in enumerate(examples()):
            (Path(corpus) / str(number)).write_bytes(shaped(args.decoder, data))
        found = Path(corpus) / "found-"
        limits = [f"-max_total_time={args.seconds}", f"-max_len={MAX_BYTES}", "-rss_limit_mb=1024", "-timeout=10"]
        atheris.Setup([sys.argv[0], corpus, *limits, f"-artifact_prefix={found}"], DECODERS[args.decoder])
        atheris.Fuzz()


if __name__ == "__main__":
    main()
