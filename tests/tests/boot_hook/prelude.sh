# shellcheck shell=sh
# Sourced before rayos-root in its tests: the programs that it calls, as functions that write to $M/log. Functions come
# before the applets that busybox prefers to PATH. $M is the folder of the simulated machine, $CUT the number of the
# call at which its power fails.

calls=0
record() {
	calls=$((calls + 1))
	[ "$calls" != "${CUT:-0}" ] || exit 99
	echo "$*" >>"$M/log"
}
answer() { cat "$M/answers/$1" 2>/dev/null; }

mount() {
	record "mount $*"
	case $* in "-t $(answer root-fs) "*) return 0 ;; "-t erofs "* | "-t squashfs "*) return 32 ;; esac
	[ ! -e "$M/answers/mount-fails" ]
}
umount() { record "umount $*"; }
modprobe() { :; }
sync() { :; }
sleep() { :; }
reboot() { record "reboot $*"; }

# The device /dev/vda8 is the file $M/vda8; other absolute paths are in the tree.
chroot() {
	tree=$1
	shift
	record "$*"
	program=$1
	shift
	case $program in
	blkid) answer "$3" ;;
	mkfs.*) echo "${program#mkfs.}" >"$M/answers/TYPE" ;;
	e2fsck) return "$(answer e2fsck || echo 0)" ;;
	dd) command dd if="$M/vda8" bs=4096 count=1 ;;
	od) if [ "$#" = 4 ]; then command od "$@"; else command od -A n -j 126 -N 1 -t u1 "$M/vda8"; fi ;;
	rm) command rm "$1" "$tree$2" ;;
	cp) command cp -a "$tree$2" "$tree$3" ;;
	mv) command mv "$tree$1" "$tree$2" ;;
	*) [ ! -e "$M/answers/$program-fails" ] ;;
	esac
}
