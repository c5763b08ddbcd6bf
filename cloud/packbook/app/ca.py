"""`packbook ca`: the key ceremony. Makes the root that is taken away, issuers, and certificates for servers.

In:  `ca_dir` from the settings or `--ca-dir`; the root's file and passphrase where something of the root is signed.
Out: files; `show` and `check` print what they hold.
"""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Callable
from pathlib import Path

from packbook.adapters import authority
from packbook.adapters.authority import CA_FILE, ROOT_FILE, Authority, fingerprint_of
from packbook.app.command import DONE, PROBLEM, WRONG_USAGE, add_settings
from packbook.clock import now_ms
from packbook.ports.trouble import AuthorityError, PackbookError, SettingsError
from packbook.settings import Settings, load_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    ways = parser.add_subparsers(dest="way", metavar="WAY", required=True)
    init = ways.add_parser("init", help="make root and first issuer")
    init.add_argument("--name", default="Packbook fleet", help="name in the certificates (default: Packbook fleet)")
    server = ways.add_parser("server-cert", help="make a server's certificate, for the broker or the enrolment door")
    server.add_argument("hosts", nargs="+", metavar="HOST", help="names and addresses by which it is called")
    server.add_argument("--out", type=Path, metavar="DIR", help="where to (default: ca_dir)")
    client = ways.add_parser("client-cert", help="make a certificate for a collector or an operator, by the issuer")
    client.add_argument("name", metavar="NAME", help="collector_name, or the operator's name in `broker-config`")
    client.add_argument("--out", type=Path, metavar="DIR", help="where to (default: ca_dir)")
    issuer = ways.add_parser("renew-issuer", help="make the next issuer under the same root")
    for way in (init, server, issuer):
        way.add_argument("--root", type=Path, required=True, metavar="FILE", help="the root; keep it offline")
        way.add_argument("--passphrase-file", type=Path, metavar="FILE", help="its passphrase (default: asked for)")
    ways.add_parser("show", help="show fingerprint and how long the certificates are valid")
    check = ways.add_parser("check", help="check a box's certificate, also one of another authority")
    check.add_argument("file", type=Path, metavar="FILE", help="certificate in PEM, with its chain")
    check.add_argument("--trust", type=Path, metavar="FILE", help="certificates to trust (default: ca.pem of ca_dir)")
    for way in ways.choices.values():
        way.add_argument("--ca-dir", type=Path, metavar="DIR", help="stronger than the setting ca_dir")
        add_settings(way)


def main(args: argparse.Namespace) -> int:
    try:
        settings = load_settings(args.settings)
        WAYS[args.way](args, settings)
    except PackbookError as problem:
        print(f"packbook ca: {problem}", file=sys.stderr)
        return WRONG_USAGE if isinstance(problem, SettingsError) else PROBLEM
    return DONE


def _init(args: argparse.Namespace, settings: Settings) -> None:
    folder = _folder(args, settings)
    if (folder / ROOT_FILE).exists():
        raise AuthorityError(f"{folder}: there is an authority already")
    root = authority.make_root(args.name, now_ms())
    authority.write_root(root, args.root, _passphrase(args, new=True))
    authority.add_issuer(root, folder, now_ms())
    ours = Authority(folder)
    ours.write_revoked([], now_ms())
    print(f"root      {args.root}: take it away now, and a copy to another place")
    print(f"issuer    {folder}: stays with the book")
    print(f"trust     {folder / CA_FILE}: for broker and boxes")
    print(f"fingerprint of the root\n          {spaced(fingerprint_of(ours.root))}")


def _server(args: argparse.Namespace, settings: Settings) -> None:
    folder = _folder(args, settings)
    root = _root(args, folder)
    files = authority.make_server(root, args.hosts, args.out or folder, now_ms())
    print(f"certificate {files[0]}\nkey         {files[1]}")


def _client(args: argparse.Namespace, settings: Settings) -> None:
    folder = _folder(args, settings)
    files = Authority(folder).issue_client(args.name, args.out or folder, now_ms())
    print(f"certificate {files[0]}\nkey         {files[1]}")


def _renew_issuer(args: argparse.Namespace, settings: Settings) -> None:
    folder = _folder(args, settings)
    issuer = authority.add_issuer(_root(args, folder), folder, now_ms())
    print(f"issuer valid until {issuer.certificate.not_valid_after_utc:%Y-%m-%d}; start 'packbook serve' again, and")
    print(f"give {folder / CA_FILE} to the broker")


def _show(args: argparse.Namespace, settings: Settings) -> None:
    ours = Authority(_folder(args, settings))
    print(f"fingerprint of the root  {spaced(fingerprint_of(ours.root))}")
    for one in ours.certificates:
        print(f"until {one.not_valid_after_utc:%Y-%m-%d}  {one.subject.rfc4514_string()}")


def _check(args: argparse.Namespace, settings: Settings) -> None:
    trust = args.trust or _folder(args, settings) / CA_FILE
    try:
        pem, ca_pem = args.file.read_bytes(), trust.read_bytes()
    except OSError as problem:
        raise AuthorityError(f"{problem.filename}: cannot be read ({problem.strerror})") from problem
    try:
        leaf = authority.check_client(pem, ca_pem, now_ms())
    except AuthorityError as problem:
        raise AuthorityError(f"{args.file}: {problem}") from problem
    print(f"good: {leaf.subject.rfc4514_string()}, until {leaf.not_valid_after_utc:%Y-%m-%d}")


WAYS: dict[str, Callable[[argparse.Namespace, Settings], None]] = {
    "init": _init,
    "server-cert": _server,
    "client-cert": _client,
    "renew-issuer": _renew_issuer,
    "show": _show,
    "check": _check,
}


def spaced(fingerprint: str) -> str:
    """In groups of four, as people compare and type them."""
    return " ".join(fingerprint[at : at + 4] for at in range(0, len(fingerprint), 4))


def _folder(args: argparse.Namespace, settings: Settings) -> Path:
    folder: Path | None = args.ca_dir or settings.ca_dir
    if folder is None:
        raise SettingsError("ca_dir is not set: give --ca-dir, or set it")
    return folder


def _root(args: argparse.Namespace, folder: Path) -> authority.Root:
    root = authority.read_root(args.root, _passphrase(args, new=False))
    if root.certificate != Authority(folder).root:
        raise AuthorityError(f"{args.root}: is not the root of {folder}")
    return root


def _passphrase(args: argparse.Namespace, *, new: bool) -> bytes | None:
    """From a file or from a person; an empty one leaves the root unlocked."""
    if args.passphrase_file is not None:
        try:
            text = args.passphrase_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as problem:
            raise AuthorityError(f"{args.passphrase_file}: cannot be read: {problem}") from problem
    elif sys.stdin.isatty():
        text = getpass.getpass("passphrase of the root: ")
        if new and text != getpass.getpass("once more: "):
            raise AuthorityError("the passphrases differ; nothing was made")
    else:
        raise SettingsError("the root's passphrase: give --passphrase-file (an empty file leaves the root unlocked)")
    return text.encode() or None
