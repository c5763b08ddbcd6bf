"""`python -m packwire.schema`: the contract as JSON; `--markdown`: its tables; `--write`: renew the released file."""

from __future__ import annotations

import sys

from packwire.schema import FILE, contract_text, tables


def main() -> int:
    match sys.argv[1:]:
        case []:
            sys.stdout.write(contract_text())
        case ["--markdown"]:
            sys.stdout.write(tables())
        case ["--write"]:
            FILE.write_text(contract_text(), encoding="utf-8")
        case _:
            sys.stderr.write(f"{__doc__}\n")
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
