#!/usr/bin/env bash
# Install what the rigs that are emulated need from Debian: the emulator, what builds a guest's disks, servers it talks to.
#   hil/needs.sh x86 | arm64
set -euo pipefail
packages=(qemu-utils mmdebstrap e2fsprogs util-linux cpio kmod socat nbdkit can-utils mosquitto)
case $1 in
x86) packages+=(qemu-system-x86) ;;
arm64) packages+=(qemu-system-arm qemu-user-static arch-test) ;;
*) echo "hil/needs.sh: x86 or arm64, not $1" >&2; exit 2 ;;
esac
bash "$(dirname "$0")/../tests/install.sh" "${packages[@]}"
[ "$1" = arm64 ] || exit 0

# Debian's disks are filled by its own programs. Installing qemu-user-static made the kernel run those of arm64, but
# not in a container, where no systemd passed it on.
arch-test arm64 >/dev/null && exit 0
if [ "$(id -u)" -eq 0 ]; then as_root=(); else as_root=(sudo -n); fi
known=/proc/sys/fs/binfmt_misc
[ -e $known/register ] || "${as_root[@]}" mount -t binfmt_misc binfmt_misc $known || true
"${as_root[@]}" tee $known/register </usr/lib/binfmt.d/qemu-aarch64.conf >/dev/null || true
arch-test arm64 >/dev/null && exit 0
echo "hil/needs.sh: this kernel does not run arm64 programs, and could not be told how ($known)." >&2
echo "    As root on the machine itself: apt-get install qemu-user-static" >&2
exit 1
