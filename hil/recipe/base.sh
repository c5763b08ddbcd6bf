#!/usr/bin/env bash
# Debian for a guest, without packbox.   base.sh ARCHITECTURE OUT
# In OUT: base.tar (the file tree), vmlinuz, initrd. Packages: packages.txt beside this file. MIRROR: where they come
# from; else where this machine gets its own, when it is the same Debian, else Debian's own.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
architecture=$1 out=$2
suite=bookworm # what Raspberry Pi OS of the same name is made of
sources=()
if [ -n "${MIRROR:-}" ]; then
    sources=("$MIRROR")
elif grep -q "VERSION_CODENAME=$suite" /etc/os-release; then
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources; do [ -e "$file" ] && sources+=("$file"); done
fi
packages=$(sed 's/#.*//' "$here/packages.txt" | xargs | tr ' ' ,)
case $architecture in arm64) kernel=arm64 ;; *) kernel=$architecture ;; esac
# Manuals are left out, and every driver that no emulated machine has.
kept=()
for part in net/can 'net/virtio*' 'net/net_failover*' 'char/virtio*' 'char/hw_random' virtio block/virtio_blk.ko md watchdog \
    input/evdev.ko input/keyboard acpi char/ipmi/ipmi_msghandler.ko nvmem; do
    kept+=("--dpkgopt=path-include=/lib/modules/*/kernel/drivers/$part*")
done
mmdebstrap --quiet --variant=minbase --architectures="$architecture" --include="$packages,linux-image-$kernel" \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/lib/modules/*/kernel/drivers/*' \
    --dpkgopt='path-exclude=/lib/modules/*/kernel/sound/*' "${kept[@]}" \
    --dpkgopt=force-confold \
    --essential-hook='mkdir -p "$1/usr/sbin" && chroot "$1" dpkg-divert --quiet --local --rename --add /usr/sbin/update-initramfs
        ln -s /bin/true "$1/usr/sbin/update-initramfs"' \
    --customize-hook="tar -C '$here/tree' --owner=0 --group=0 -c . | tar -C \"\$1\" -x --no-same-permissions" \
    --customize-hook='chroot "$1" sh /setup.sh && rm "$1/setup.sh"' \
    "$suite" "$out/base.tar" "${sources[@]}"

# The kernel, and a small start that knows one disk: Debian's own tool for it takes minutes under emulation.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
tar -C "$scratch" -xf "$out/base.tar" --wildcards './boot/vmlinuz-*' './lib/modules/*' './usr/lib/modules/*' ./bin/busybox ./usr/bin/busybox 2>/dev/null || true
[ -d "$scratch/lib" ] || ln -s usr/lib "$scratch/lib"
[ -d "$scratch/bin" ] || ln -s usr/bin "$scratch/bin"
kernel=$(ls "$scratch/lib/modules")
cp "$scratch/boot/vmlinuz-$kernel" "$out/vmlinuz"
start=$scratch/start
mkdir -p "$start"/{bin,dev,proc,sys,root,modules}
cp "$scratch/bin/busybox" "$start/bin/"
{
    echo '#!/bin/busybox sh'
    echo 'b=/bin/busybox; $b mount -t devtmpfs dev /dev; $b mount -t proc proc /proc; $b mount -t sysfs sys /sys'
    depmod -b "$scratch" "$kernel"
    modprobe -d "$scratch" -S "$kernel" --show-depends --all virtio_pci virtio_blk crc32c_generic ext4 |
        awk '$1 == "insmod" && !seen[$2]++ {print $2}' | while read -r module; do
        cp "$module" "$start/modules/"
        echo "\$b insmod /modules/$(basename "$module")"
    done
    echo 'until [ -b /dev/vda ]; do $b sleep 0.1; done'
    echo '$b mount -t ext4 -o rw,noatime /dev/vda /root || { $b dmesg | $b tail -30; exec $b sh; }'
    echo '$b umount /proc; $b umount /sys; exec $b switch_root /root /sbin/init'
} >"$start/init"
chmod 755 "$start/init"
(cd "$start" && find . | cpio --quiet -o -H newc --owner=0:0 | gzip -1) >"$out/initrd"
