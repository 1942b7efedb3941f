# SPDX-License-Identifier: Apache-2.0
# The backing "file" by filesystem and the state that the file is in. Part of guest.sh; prints a "cell" a combination, too.

# The block device of the disk that run.py has given this serial number; nothing where there is none.
disk() {
	for device in /sys/block/nvme*; do
		[ "$(tr -d ' ' 2>/dev/null <"$device/device/serial")" = "$1" ] && echo "/dev/${device##*/}"
	done
}

# Nothing is written to a disk but by sync.
echo 0 >/proc/sys/vm/dirty_writeback_centisecs

# cell FILESYSTEM STATE PROGRAM
cell() {
	try "file, $1, $2" file "$(expected "file-$1-$2")" "$3"
	if grep -q '"outcome":"remapped"' report.json; then
		answer=huge
	else
		answer=$(sed -n 's/.*"outcome":"[a-z]*","reason":"\([a-z-]*\).*/\1/p' report.json)
		echo "note $1, $2: $(grep -oE '"reason":"[^"]*"' report.json | head -1)"
	fi
	echo "cell $2 $answer $1"
}

# A copy is dirty until it is written.
states() {
	dd if=/programs/bigtext-static of="$2/dirty" bs=4k 2>/dev/null # in small folios, which some filesystems make larger for more at once
	chmod 755 "$2/dirty"
	cell "$1" dirty "$2/dirty"
	clean_states "$1" "$2"
}

clean_states() {
	[ -e "$2/bigtext-static" ] || cp /programs/bigtext-static /programs/bigtext-pie "$2"
	sync
	echo 1 >/proc/sys/vm/drop_caches
	"$2/bigtext-static" sleep >sleeper.out &
	sleeper=$!
	while ! grep -q ready sleeper.out; do sleep 0.1; done
	cell "$1" mapped "$2/bigtext-static"
	kill $sleeper
	wait $sleeper 2>/dev/null
	cell "$1" clean "$2/bigtext-pie"
	echo 1 >/proc/sys/vm/drop_caches
	echo never >$thp/enabled
	try "file, $1, clean, THP never" file "$(expected "file-$1-clean")" "$2/bigtext-pie"
	echo madvise >$thp/enabled
}

for filesystem in ext4 xfs btrfs erofs verity encrypt; do
	device=$(disk $filesystem)
	kind=$filesystem
	options=rw
	case $filesystem in
	verity | encrypt) kind=ext4 ;;
	btrfs) options=commit=3600 ;; # it writes by itself every 30 seconds
	erofs) options=ro ;;
	esac
	mkdir -p $filesystem
	if [ -z "$device" ] || ! mount -t $kind -o $options "$device" $filesystem 2>mount.err; then
		echo "note no $filesystem here: ${device:-no disk} $(cat mount.err)"
		continue
	fi
	case $filesystem in
	erofs) clean_states erofs /tmp/erofs ;;
	verity | encrypt)
		cp /programs/bigtext-pie $filesystem && sync
		cell $filesystem clean /tmp/$filesystem/bigtext-pie
		grep -qE "has the feature $filesystem|MADV_POPULATE_READ|remapped" report.json && echo "ok it names the feature $filesystem" ||
			fail "it names the feature $filesystem" "$(cat report.json)"
		;;
	*) states $filesystem /tmp/$filesystem ;;
	esac
	[ $filesystem = ext4 ] || umount $filesystem
done
mkdir -p ext4/lower ext4/upper ext4/work overlay
cp /programs/bigtext-pie /programs/bigtext-static ext4/lower
if mount -t overlay -o lowerdir=/tmp/ext4/lower,upperdir=/tmp/ext4/upper,workdir=/tmp/ext4/work none overlay; then
	states overlay /tmp/overlay
	umount overlay
else
	echo "note no overlay here"
fi
umount ext4
