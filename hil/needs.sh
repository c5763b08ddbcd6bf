#!/usr/bin/env bash
# Install what the rigs that are emulated need from Debian: the emulator, what builds a guest's disks, servers it talks to.
#   hil/needs.sh x86 | arm64
set -euo pipefail
packages=(qemu-utils mmdebstrap e2fsprogs util-linux cpio kmod socat nbdkit can-utils mosquitto)
case $1 in
x86) packages+=(qemu-system-x86) ;;
arm64) packages+=(qemu-system-arm qemu-user-static) ;;
*) echo "hil/needs.sh: x86 or arm64, not $1" >&2; exit 2 ;;
esac
exec bash "$(dirname "$0")/../tests/install.sh" "${packages[@]}"
