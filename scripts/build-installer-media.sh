#!/usr/bin/env bash
# Makes installation media of a release: build/rayos-installer-usb.img (a stick) and build/rayos-installer.iso (a CD, or
# a stick as well). Both start the recovery system, which holds the installer; the first bundle is on them.
#
#   scripts/build-installer-media.sh [--bundle FILE] [--trust FILE] [--answers FILE | --attended] [--out FOLDER]
#
# Without --bundle: the sample release 1.0.0, made first if need be. Without --answers: tests/sample/install.toml, an
# installation without questions to the only blank disk. --attended: no answers, the medium asks.
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
        -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) say "build-installer-media.sh: unknown argument $1"; exit 2 ;;
    esac
done

scripts/build-sample
# One at a time, whoever calls.
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
        die "no stick was made"
    }
    mv "$stick.new" "$stick"
    done_step
fi

# The ISO: firmware starts what is in its EFI boot image (El Torito), and the running system reads the bundle from the
# tree beside it, so that it is there once. The same guard and the same recovery image as on the stick.
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
            die "$bundle has no $image image that $trust vouches for"
    done
    # As in the recovery partition: the seal, which is the bundle's first 4096 bytes, then the program.
    head -c 4096 "$bundle" | cat - "$work/recovery.efi" >"$work/RECOVERY.IMG"
    mib=$((($(stat -c %s "$work/RECOVERY.IMG") >> 20) + 4))
    truncate -s "$((mib < 36 ? 36 : mib))M" "$esp"
    mkfs.vfat -F 32 -i 5241594f -n RAYOS --invariant "$esp" >/dev/null
    find "$work" -exec touch -h -d @1767744000 {} +
    mmd -i "$esp" ::EFI ::EFI/BOOT ::EFI/RAYOS
    mcopy -m -i "$esp" "$work/guard.efi" ::EFI/BOOT/BOOTX64.EFI
    mcopy -m -i "$esp" "$work/RECOVERY.IMG" ::EFI/RAYOS/
    touch -d @1767744000 "$esp"
    # A load size of 1 means to firmware: as long as it is; the field itself ends at 32 MiB. The boot image has an entry
    # in a GPT as well, so that the same file, written to a stick, starts from there.
    SOURCE_DATE_EPOCH=1767744000 xorriso -report_about WARNING -as mkisofs -quiet -R -J -V RAYOS \
        -e EFI/RAYOS/BOOT.IMG -no-emul-boot -boot-load-size 1 -isohybrid-gpt-basdat -o "$iso.new" "$tree" 2>"$work/xorriso" || { cat "$work/xorriso" >&2; die "no ISO was made"; }
    mv "$iso.new" "$iso"
    done_step
fi
printf '%s\n' "$stick" "$iso"
