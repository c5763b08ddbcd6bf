"""`packbook broker-config --out DIR`: everything mosquitto needs to be the broker of a fleet.

In:  the book's settings, names of collectors and operators, where the files will lie on the broker's machine.
Out: `mosquitto.conf`, `packbook.acl` and a systemd drop-in, each explained in its own comments.
Refuses to write over what somebody changed by hand: the new text then lies beside it as `NAME.new`, and the
difference is shown. A file knows that it is untouched by the digest in its first line.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from packbook.app.command import DONE, PROBLEM, WRONG_USAGE, add_settings
from packbook.ports.trouble import PackbookError, SettingsError
from packbook.settings import Settings, load_settings
from packwire.cbor import MAX_MESSAGE_BYTES
from packwire.ids import is_hex_id
from packwire.rights import RIGHTS, Role
from packwire.topics import ROOT

DEFAULT_ETC: Final = PurePosixPath("/etc/mosquitto/packbook")
DEFAULT_DATA: Final = PurePosixPath("/var/lib/mosquitto")
DEFAULT_PORT: Final = 8883
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
HEADER: Final = "# packbook broker-config, sha256 "
PACKET_SPARE_BYTES: Final = 1024  # topic and properties around the largest payload
DAY_S: Final = 86_400
SESSION_SPARE_DAYS: Final = 7  # MQTT 5 clients say themselves how long; this is for the others and for the forgotten


class ConfigurationNotWritten(PackbookError):
    """A file cannot be read or written. What was written before it is complete."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the files say."""

    port: int
    bind: str | None
    etc: PurePosixPath
    data: PurePosixPath
    collectors: Sequence[str]
    operators: Sequence[str]
    session_days: int
    queue_mb: int
    crl: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to; made if need be")
    parser.add_argument(
        "--collector", action="append", metavar="NAME", help="name in a collector's certificate; default collector_name"
    )
    parser.add_argument(
        "--operator", action="append", default=[], metavar="NAME", help="name that may send configurations and commands"
    )
    parser.add_argument("--port", type=int, metavar="N", help="port to listen on; default that of the broker setting")
    parser.add_argument("--bind", metavar="ADDRESS", help="address to listen on; default all")
    parser.add_argument(
        "--etc", type=PurePosixPath, default=DEFAULT_ETC, metavar="DIR",
        help=f"where the files will lie on the broker's machine ({DEFAULT_ETC})",
    )  # fmt: skip
    parser.add_argument(
        "--data", type=PurePosixPath, default=DEFAULT_DATA, metavar="DIR",
        help=f"where the broker keeps its sessions ({DEFAULT_DATA})",
    )  # fmt: skip
    parser.add_argument(
        "--queue-mb", type=int, default=512, metavar="N", help="most that waits for one absent collector, in MB (512)"
    )
    parser.add_argument(
        "--no-crl", action="store_true", help="no revocation list: a revoked box gets in until its certificate ends"
    )


def main(args: argparse.Namespace) -> int:
    try:
        return _write_all(args.out, files(_plan(args, load_settings(args.settings))))
    except PackbookError as problem:
        print(f"packbook broker-config: {problem}", file=sys.stderr)
        return WRONG_USAGE if isinstance(problem, SettingsError) else PROBLEM


def _plan(args: argparse.Namespace, settings: Settings) -> Plan:
    plan = Plan(
        port=args.port or (settings.broker_port if settings.broker_tls else DEFAULT_PORT),
        bind=args.bind,
        etc=args.etc,
        data=args.data,
        collectors=tuple(dict.fromkeys(args.collector or [settings.collector_name])),
        operators=tuple(dict.fromkeys(args.operator)),
        session_days=math.ceil(settings.session_expiry_s / DAY_S) + SESSION_SPARE_DAYS,
        queue_mb=args.queue_mb,
        crl=not args.no_crl,
    )
    _check(plan)
    return plan


def _check(plan: Plan) -> None:
    for name in (*plan.collectors, *plan.operators):
        if NAME.fullmatch(name) is None:
            raise SettingsError(f"{name!r}: letters, digits and . _ - only: it stands in a certificate and in an ACL")
        if is_hex_id(name):
            raise SettingsError(f"{name}: looks like the name of a box, which would then read the whole fleet")
    both = set(plan.collectors) & set(plan.operators)
    if both:
        raise SettingsError(f"{min(both)}: a name is that of a collector or of an operator, not of both")
    if not 1 <= plan.port <= 65535:
        raise SettingsError(f"--port {plan.port}: expected 1 to 65535")
    if plan.queue_mb < 1:
        raise SettingsError(f"--queue-mb {plan.queue_mb}: expected 1 or more; 0 would let a queue fill the memory")
    for text in (str(plan.etc), str(plan.data), plan.bind or ""):
        if any(letter.isspace() for letter in text):
            raise SettingsError(f"{text!r}: mosquitto takes no spaces there")


def files(plan: Plan) -> Mapping[str, str]:
    """Name and text of every file, first lines included."""
    texts = {
        "mosquitto.conf": _configuration(plan),
        "packbook.acl": acl(plan.collectors, plan.operators),
        "mosquitto.service.d/packbook.conf": _drop_in(plan),
    }
    return {name: f"{HEADER}{_digest(text)}\n{text}" for name, text in texts.items()}


def _configuration(plan: Plan) -> str:
    etc = plan.etc
    revocation = (
        f"crlfile {etc}/crl.pem"
        if plan.crl
        else f"# Left out by --no-crl: a revoked certificate is good until it ends.\n#crlfile {etc}/crl.pem"
    )
    return f"""\
# The whole configuration of mosquitto 2.0 as the broker of a Packbook fleet: instead of its mosquitto.conf, not beside.
# Made by `packbook broker-config`, which never writes over changes made here. Explained in docs/broker.md.
#
# Put into {etc}, readable by the user mosquitto alone:
#   ca.pem      the authorities that make certificates of boxes and collectors: root and intermediate, one file
#   server.pem  this broker's certificate, then the intermediate; made for the name that boxes have as broker.host
#   server.key  its private key
#   crl.pem     the revocation list of each authority that makes certificates of clients. Renew it before it runs out:
#               with an old list mosquitto refuses every client, as if each certificate had run out.
# All four and the ACL are read anew at `systemctl reload mosquitto`. That cuts nobody off: a revoked box that is
# connected stays so until `systemctl restart mosquitto`, which loses nothing either.

listener {plan.port}{f" {plan.bind}" if plan.bind else ""}

# --- who gets in: nobody without a certificate of the fleet, and under no other name than the one in it
cafile {etc}/ca.pem
certfile {etc}/server.pem
keyfile {etc}/server.key
{revocation}
tls_version tlsv1.2
require_certificate true
use_identity_as_username true
# The client id too: otherwise any box could throw out another one, or a collector, by taking its name.
use_username_as_clientid true
allow_anonymous false

# --- who may do what
# From 2.1 on acl_file is old fashioned, but works; its successor takes the same file:
#   plugin /path/to/mosquitto_acl_file.so
#   plugin_opt_acl_file {etc}/packbook.acl
acl_file {etc}/packbook.acl

# --- how much
# The largest message of the contract and what MQTT puts around it.
max_packet_size {MAX_MESSAGE_BYTES + PACKET_SPARE_BYTES}
# The default of 1000 messages silently drops what comes after it, behind a success PUBACK. Bytes guard the memory
# instead: per client, and only an absent collector has a queue. What is dropped stays in the box, which sends again.
max_queued_messages 0
max_queued_bytes {plan.queue_mb * 1_000_000}
# For MQTT 3.1.1; clients of MQTT 5 say themselves how much they take (collectors: receive_max).
max_inflight_messages 20
queue_qos0_messages false

# --- what survives a restart: sessions of collectors, retained acks and states. A crash loses what came since the
# last save; boxes send that again.
persistence true
persistence_location {plan.data}/
autosave_interval 60
# Sessions of collectors that never came back.
persistent_client_expiration {plan.session_days}d
# From 2.1 on there is a plugin that keeps them in SQLite, instead of `persistence true`:
#   global_plugin /path/to/mosquitto_persist_sqlite.so

# --- what is said, to the journal: names of boxes, never what they send
log_dest stderr
log_type error
log_type warning
log_type notice
connection_messages true
"""


def acl(collectors: Sequence[str], operators: Sequence[str] = ()) -> str:
    """The rights of `packwire.rights` in mosquitto's words. `%u` is the name in the certificate."""
    box = RIGHTS[Role.BOX]
    lines = [
        "# Who may do what; what is not here is denied.",
        "# mosquitto grants every subscription and then withholds what may not be read.",
        "# A box writes and reads its own topics only.",
        *(f"pattern write {ROOT}/%u/{leaf.value}" for leaf in box.writes),
        *(f"pattern read {ROOT}/%u/{leaf.value}" for leaf in box.reads),
    ]
    for role, names in ((Role.COLLECTOR, collectors), (Role.OPERATOR, operators)):
        rights = RIGHTS[role]
        for name in names:
            lines += ["", f"user {name}"]
            lines += [f"topic write {ROOT}/+/{leaf.value}" for leaf in rights.writes]
            lines += [f"topic read {ROOT}/+/{leaf.value}" for leaf in rights.reads]
    return "\n".join([*lines, ""])


def _drop_in(plan: Plan) -> str:
    return f"""\
# Into /etc/systemd/system/mosquitto.service.d/, then `systemctl daemon-reload` and `systemctl restart mosquitto`.
[Service]
ExecStart=
ExecStart=/usr/sbin/mosquitto -c {plan.etc}/mosquitto.conf
# One file descriptor for each box, and some.
LimitNOFILE=1048576
Restart=always
RestartSec=1
NoNewPrivileges=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectHome=yes
ProtectSystem=full
"""


def _write_all(folder: Path, texts: Mapping[str, str]) -> int:
    changed = [name for name, text in texts.items() if not _write(folder / name, text)]
    if changed:
        print(
            f"packbook broker-config: changed by hand and left alone: {', '.join(changed)}; see the .new beside each",
            file=sys.stderr,
        )
        return PROBLEM
    return DONE


def _write(file: Path, text: str) -> bool:
    """False if somebody changed the file: it stays, and the new text lies beside it."""
    beside = file.with_name(f"{file.name}.new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        old = file.read_text(encoding="utf-8") if file.exists() else None
        if old is not None and old != text and not _untouched(old):
            beside.write_text(text, encoding="utf-8")
            _show_difference(file, old, text)
            return False
        if old != text:
            file.write_text(text, encoding="utf-8")
        beside.unlink(missing_ok=True)
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigurationNotWritten(f"{file}: {problem}") from problem
    print(f"{file}: {'written' if old is None else 'unchanged' if old == text else 'brought up to date'}")
    return True


def _untouched(text: str) -> bool:
    first, _, rest = text.partition("\n")
    return first == f"{HEADER}{_digest(rest)}"


def _show_difference(file: Path, old: str, new: str) -> None:
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), str(file), f"{file}.new", lineterm="")
    print("\n".join(lines), file=sys.stderr)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
