# SPDX-License-Identifier: Apache-2.0
# Where the base pages are larger than 4 KiB, and one entry of the next level maps 32 or 512 MiB. Part of guest.sh, and its end.

echo "note huge pages of $(cat $thp/hpage_pmd_size) bytes; pools: $(echo /sys/kernel/mm/hugepages/*)"
for program in bigtext-pie bigtext-static bigtext-static-pie probe-pie; do
	pages 16
	try "hugetlb, 2 MiB, $program" hugetlb remapped /programs/$program
	grep -qE '"huge_bytes":(6291456|8388608)' report.json && echo "ok smaps counts it, $program" || fail "smaps counts it" "$(cat report.json)"
	try "whatever fits, $program" file,hugetlb remapped /programs/$program
	pages 0
	try "hugetlb, empty pool, $program" hugetlb hugetlb-pool /programs/$program
	for backing in thp file; do
		try "$backing, $program has no slot" $backing no-huge-slot /programs/$program
	done
done
pages 16
policy=libraries.json
try "hugetlb with libraries" hugetlb remapped /programs/probe-pie
policy=
pages 0
/programs/busy work >busy.out &
busy=$!
while ! grep -q ready busy.out; do sleep 0.1; done
hugexecctl attach --json --policy=all.json --backing=hugetlb $busy >report.json
kill -TERM $busy
wait $busy && grep -q '^ok: ' busy.out && grep -q "\"reason\":\"$(expected attach):" report.json && echo "ok attach" || fail "attach" "$(cat busy.out report.json)"
echo "done"
poweroff -f
