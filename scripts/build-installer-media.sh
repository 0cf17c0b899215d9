#!/usr/bin/env bash
# Makes installation media of a release: build/rayos-installer-usb.img (for a stick) and build/rayos-installer.iso
# (for a CD or a stick). Both start the recovery system, which contains the installer, and hold the first bundle.
#
#   scripts/build-installer-media.sh [--bundle FILE] [--trust FILE] [--answers FILE | --attended] [--out FOLDER]
#
# Default of --bundle: the sample release 1.0.0, made first if necessary. Default of --answers:
# tests/sample/install.toml, which installs without questions to the only blank disk. --attended: no answers file; the
# medium writes nothing unasked.
set -euo pipefail
# shellcheck source=scripts/lib/env.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/env.sh"

bundle='' trust=build/sample/trust.toml answers=tests/sample/install.toml out=build
while [ $# -gt 0 ]; do
    case $1 in
        --bundle) bundle=${2:?--bundle needs a file}; shift 2 ;;
        --trust) trust=${2:?--trust needs a file}; shift 2 ;;
        --answers) answers=${2:?--answers needs a file}; shift 2 ;;
        --attended) answers=''; shift ;;
        --out) out=${2:?--out needs a folder}; shift 2 ;;
        -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) say "build-installer-media.sh: unknown argument $1"; exit 2 ;;
    esac
done

scripts/build-sample
# One call at a time.
mkdir -p target
exec 8>target/media.lock
flock 8
[ -n "$bundle" ] || bundle=build/sample/rayos-1.0.0.bundle
installer=build/sample/bin/rayos-installer
mkdir -p "$out"
given=(--bundle "$bundle" --trust "$trust")
[ -z "$answers" ] || given+=(--answers "$answers")

stick=$out/rayos-installer-usb.img
if ! fresh "$stick" "$0" "$bundle" "$trust" "$installer" ${answers:+"$answers"}; then
    step "installation stick"
    rm -f "$stick.new"
    "$installer" media "${given[@]}" -o "$stick.new" 2>"$out/rayos-installer.log" || {
        cat "$out/rayos-installer.log" >&2
        die "the stick could not be made"
    }
    mv "$stick.new" "$stick"
    done_step
fi

# The ISO: firmware starts the contents of its EFI boot image (El Torito), and the running system reads the bundle
# from the tree beside it, so the ISO has the bundle once. Guard and recovery image are the same as on the stick.
iso=$out/rayos-installer.iso
if ! fresh "$iso" "$0" "$stick"; then
    step "installation CD image"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    tree=$work/tree esp=$work/tree/EFI/RAYOS/BOOT.IMG
    mkdir -p "$tree/RAYOS" "$tree/EFI/RAYOS"
    cp "$bundle" "$tree/RAYOS/"
    [ -z "$answers" ] || cp "$answers" "$tree/RAYOS/install.toml"
    for image in guard recovery; do
        build/sample/bin/rayos-bundle extract "$bundle" --trust "$trust" --image "$image" -o "$work/$image.efi" 2>/dev/null ||
            die "$bundle has no $image image that is signed by keys of $trust"
    done
    # As in the recovery partition: the seal (the bundle's first 4096 bytes), then the program.
    head -c 4096 "$bundle" | cat - "$work/recovery.efi" >"$work/RECOVERY.IMG"
    mib=$((($(stat -c %s "$work/RECOVERY.IMG") >> 20) + 4))
    truncate -s "$((mib < 36 ? 36 : mib))M" "$esp"
    mkfs.vfat -F 32 -i 5241594f -n RAYOS --invariant "$esp" >/dev/null
    find "$work" -exec touch -h -d @1767744000 {} +
    mmd -i "$esp" ::EFI ::EFI/BOOT ::EFI/RAYOS
    mcopy -m -i "$esp" "$work/guard.efi" ::EFI/BOOT/BOOTX64.EFI
    mcopy -m -i "$esp" "$work/RECOVERY.IMG" ::EFI/RAYOS/
    touch -d @1767744000 "$esp"
    # A load size of 1 tells firmware to use the whole boot image, because the field itself ends at 32 MiB. The boot
    # image also has an entry in a GPT, so the same file starts from a stick.
    SOURCE_DATE_EPOCH=1767744000 xorriso -report_about WARNING -as mkisofs -quiet -R -J -V RAYOS \
        -e EFI/RAYOS/BOOT.IMG -no-emul-boot -boot-load-size 1 -isohybrid-gpt-basdat -o "$iso.new" "$tree" \
        2>"$work/xorriso" || { cat "$work/xorriso" >&2; die "the ISO could not be made"; }
    mv "$iso.new" "$iso"
    done_step
fi
printf '%s\n' "$stick" "$iso"
