#!/bin/bash
# Module of dracut: puts rayos-root into the initramfs.

check() {
    require_binaries /usr/bin/rayos-bootctl /usr/lib/rayos/rayos-root
}

depends() {
    echo base dm
}

installkernel() {
    # Drivers that a kernel has built in are not missing.
    instmods dm_mod dm_verity efivarfs efi_pstore erofs squashfs ext4 xfs btrfs overlay
}

install() {
    # A mistake in persist.conf ends here, with its reason, and not on the machines.
    /usr/lib/rayos/rayos-root check "${dracutsysrootdir:-/}" || { derror "rayos: persist.conf"; exit 1; }
    inst_multiple mount umount mkdir sleep sync modprobe chroot reboot
    inst /usr/bin/rayos-bootctl
    # Without root=, systemd would wait for a root partition that it chooses itself, and end in a shell.
    # shellcheck disable=SC2154
    mkdir -p "$initdir/etc/systemd/system-generators"
    ln -sf /dev/null "$initdir/etc/systemd/system-generators/systemd-gpt-auto-generator"
    inst_script /usr/lib/rayos/rayos-root /usr/lib/rayos/rayos-root
    # shellcheck disable=SC2154
    inst_hook cmdline 90 "$moddir/parse-rayos.sh"
    # shellcheck disable=SC2154
    inst_hook mount 90 "$moddir/mount-rayos.sh"
}
