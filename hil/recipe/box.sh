#!/usr/bin/env bash
# A guest's disks.   box.sh BASE.TAR OUT PACKAGE [FURTHER PACKAGES]
# In OUT: root.qcow2 (Debian with PACKAGE installed), packages.img (all packages, for upgrades; read-only).
# Packages are unpacked and compiled by this machine's processor, which takes seconds where a guest takes minutes.
set -euo pipefail
if [ -z "${IN_NAMESPACE:-}" ]; then # what is mounted here goes with us; who is not root is it in there
    users=()
    [ "$(id -u)" -eq 0 ] || users=(--map-root-user --map-auto)
    IN_NAMESPACE=yes exec unshare --mount "${users[@]}" bash "$0" "$@"
fi
base=$1 out=$2
shift 2
tree=$(mktemp -d)
trap 'umount -lq "$tree/proc" "$tree/dev" || true; rm -rf --one-file-system "$tree"' EXIT
tar -C "$tree" --exclude='./dev/*' -xf "$base"
mkdir -p "$tree/packages" "$tree/dev" "$tree/proc"
mount -t tmpfs none "$tree/dev"
mkdir "$tree/dev/shm"
ln -s /proc/self/fd "$tree/dev/fd"
touch "$tree/dev/null" # what is written there goes with it
mount --rbind /proc "$tree/proc"
cp "$@" "$tree/packages/"
if [ "$(chroot "$tree" dpkg --print-architecture)" != "$(dpkg --print-architecture)" ] && command -v python3.11 >/dev/null; then
    # Byte code is the same for every processor, and another one's is emulated: the package's compiler finds it done.
    dpkg-deb --fsys-tarfile "$1" | tar -C "$tree" -x ./usr/lib/packbox
    python3.11 -I -X no_debug_ranges -m compileall -qq -j 0 -s "$tree" -p / "$tree/usr/lib/packbox" || true
fi
chroot "$tree" dpkg --install --force-unsafe-io "/packages/$(basename "$1")" >/dev/null
mkfs.ext4 -q -L packages -d "$tree/packages" "$out/packages.img" 192M
umount -l "$tree/proc" "$tree/dev"
rm -rf "$tree/packages" "$tree/dev/shm"
mkfs.ext4 -q -L root -d "$tree" "$out/root.raw" 2G
qemu-img convert -O qcow2 "$out/root.raw" "$out/root.qcow2"
rm "$out/root.raw"
