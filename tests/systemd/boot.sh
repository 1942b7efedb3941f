#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Become systemd, as PID 1 of namespaces that lib/systemd_container.py has just made: boot.sh FOLDER [LAYER...]
# FOLDER is an empty one of ours; each LAYER is a tree laid over /usr, /etc and /var, the first on top. Whatever systemd and
# its units write stays in memory that ends with this mount namespace: in what it boots with, nothing of the machine's
# can be changed but /sys outside of cgroups, which has the pool of huge pages.
# CONTAINER_ROOT: a whole root in place of the machine's; what is written to it lies in CONTAINER_WRITTEN, for another boot.
set -eu
folder=$1
shift
mount --make-rprivate /
if [ -n "${CONTAINER_ROOT-}" ]; then
	mkdir -p "$CONTAINER_WRITTEN/upper" "$CONTAINER_WRITTEN/work"
	chmod 755 "$CONTAINER_WRITTEN/upper"
	mount -t overlay tests -o "lowerdir=$CONTAINER_ROOT,upperdir=$CONTAINER_WRITTEN/upper,workdir=$CONTAINER_WRITTEN/work" "$folder"
	mount --rbind /sys "$folder/sys"
	mount --rbind /dev "$folder/dev"
	mount -t proc proc "$folder/proc"
	cd "$folder"
	pivot_root . mnt
	cd /
	umount --lazy /mnt
	folder=/mnt
fi
mount -t tmpfs -o mode=755 tests "$folder"

# Layers and programs are bound to places of ours: theirs may be covered below (/tmp), or have a blank or a colon in the name.
mkdir -p "$folder/srv/programs" "$folder/layers"
if [ -n "${CONTAINER_PROGRAMS-}" ]; then mount --bind "$CONTAINER_PROGRAMS" "$folder/srv/programs"; fi
count=10
for layer; do
	count=$((count + 1))
	mkdir "$folder/layers/$count"
	mount --bind "$layer" "$folder/layers/$count"
done

# overlay PLACE: a writable one, with what the layers have for PLACE on top of it.
overlay() {
	lower=
	for layer in "$folder/layers"/*; do
		if [ -d "$layer$1" ]; then lower="$lower$layer$1:"; fi
	done
	mkdir -p "$folder/written$1/upper" "$folder/written$1/work"
	chmod 755 "$folder/written$1/upper"
	mount -t overlay tests -o "lowerdir=$lower$1,upperdir=$folder/written$1/upper,workdir=$folder/written$1/work" "$1"
}
# The kernel refuses to lay a folder over one that it lies in (a checkout below /var): then a copy of it.
over() {
	overlay "$1" 2>"$folder/refused" && return
	for layer in "$folder/layers"/*; do
		if [ -d "$layer$1" ]; then
			mkdir -p "$folder/copies/${layer##*/}"
			cp -a "$layer$1" "$folder/copies/${layer##*/}/"
			mount --bind "$folder/copies/${layer##*/}$1" "$layer$1"
		fi
	done
	overlay "$1"
}
if [ -z "${CONTAINER_ROOT-}" ]; then
	over /usr
	over /etc
	rm -rf /etc/systemd/system/*.wants
fi
# Packages of before Debian 13 have their units in /lib, which is a link to /usr/lib.
for layer in "$folder/layers"/*; do
	if [ -d "$layer/lib/systemd/system" ]; then cp -an "$layer/lib/systemd/system/." /usr/lib/systemd/system/; fi
done
mount --rbind "$folder/srv" /srv
if [ -z "${CONTAINER_ROOT-}" ]; then over /var; fi
mount -t tmpfs -o mode=755 tests /run
mount -t tmpfs -o mode=1777 tests /tmp

# Device nodes of our own: the machine's /dev is one and the same file system in all namespaces.
mkdir -p "$folder/dev"
mount -t tmpfs -o mode=755 tests "$folder/dev"
for node in null zero full random urandom tty; do cp -a "/dev/$node" "$folder/dev/"; done
mkdir -m 755 "$folder/dev/pts"
mkdir -m 1777 "$folder/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts "$folder/dev/pts"
mount -t tmpfs -o mode=1777 tests "$folder/dev/shm"
ln -s pts/ptmx "$folder/dev/ptmx"
ln -s /proc/self/fd "$folder/dev/fd"
mount --move "$folder/dev" /dev

umount --recursive --lazy /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t proc proc /proc
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys

# Only what a test needs is started; what would touch the kernel's settings or modules cannot be.
rm -f /etc/systemd/system/dbus-org.freedesktop.*
for unit in systemd-udevd.service systemd-udevd-kernel.socket systemd-udevd-control.socket systemd-udev-trigger.service \
	systemd-sysctl.service systemd-modules-load.service systemd-binfmt.service systemd-random-seed.service \
	systemd-tmpfiles-setup-dev.service kmod-static-nodes.service systemd-firstboot.service systemd-repart.service \
	systemd-update-utmp.service systemd-logind.service dev-hugepages.mount dev-mqueue.mount \
	sys-fs-fuse-connections.mount sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount \
	proc-sys-fs-binfmt_misc.automount hugexec-warm.service hugexec-pool.service; do
	case "${CONTAINER_ROOT:+root}$unit" in roothugexec-*) ;; *) ln -sf /dev/null "/etc/systemd/system/$unit" ;; esac
done
: >/etc/fstab
mkdir -p /etc/systemd/journald.conf.d /etc/systemd/system.conf.d
printf '[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\nReadKMsg=no\n' >/etc/systemd/journald.conf.d/tests.conf
printf '[Manager]\nDefaultTimeoutStartSec=90\nDefaultTimeoutStopSec=30\nDefaultStartLimitIntervalSec=0\nLogTarget=journal\n' \
	>/etc/systemd/system.conf.d/tests.conf
cat >/etc/systemd/system/tests.target <<'END'
[Unit]
Description=What the tests boot into
Requires=basic.target
Wants=systemd-journald.service dbus.service
After=basic.target systemd-journald.service
AllowIsolate=yes
END
echo tests >/etc/hostname
exec env -i container=tests PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
	/lib/systemd/systemd --unit=tests.target --show-status=no
