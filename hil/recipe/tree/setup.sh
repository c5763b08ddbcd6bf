# Run once in the new file tree.
set -e
systemctl enable --quiet systemd-networkd systemd-timesyncd
systemctl mask --quiet serial-getty@ttyS0.service serial-getty@ttyAMA0.service getty@tty1.service apt-daily.timer \
    apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer dpkg-db-backup.timer systemd-networkd-wait-online.service
# Each test starts from the same machine.
echo 0b0cb0cb0cb0cb0cb0cb0cb0cb0cb0cb >/etc/machine-id
echo box >/etc/hostname
echo "127.0.0.1 localhost box" >/etc/hosts
echo "LABEL=root / ext4 rw,noatime,errors=remount-ro 0 1" >/etc/fstab
rm -rf /var/lib/apt/lists/* /var/cache/apt/*
