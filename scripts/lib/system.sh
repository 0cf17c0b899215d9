# shellcheck shell=bash
# Makes a bootable system from the distribution's packages, without root: kernels, module lists, initramfs, UKI, root
# file systems. Sourced after env.sh by scripts/build-sample.
#
# All results are reproducible: fixed times and owners, sorted archives.

cache=${top:?env.sh comes first}/target/sample
# Time of all files: 2026-01-07.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-1767744000}
export TZ=UTC LC_ALL=C

# settle_times FOLDER: sets the time of all files below it.
settle_times() { find "$1" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +; }

# first_dependency PACKAGE: prints the versioned kernel package of a metapackage, or nothing.
first_dependency() {
    apt-cache depends "$1" 2>/dev/null | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1
}

# kernel NAME METAPACKAGE...: fetches the kernel of the first known metapackage, with its modules, into $cache/NAME
# (vmlinuz, modules/). Installs nothing.
kernel() {
    local name=$1 image="" meta version packages=() extra
    shift
    local into=$cache/$name
    [ ! -e "$into/vmlinuz" ] || return 0
    step "fetch the $name kernel"
    for meta; do
        image=$(first_dependency "$meta")
        [ -z "$image" ] || break
    done
    [ -n "$image" ] || missing "no package list names a kernel ($*); run apt-get update"
    version=${image#linux-image-}
    version=${version#unsigned-}
    packages=("$image")
    # Ubuntu has separate packages for modules.
    for extra in "linux-modules-$version" "linux-modules-extra-$version"; do
        [ -z "$(apt-cache search --names-only "^$extra\$")" ] || packages+=("$extra")
    done
    rm -rf "$into.new" "$cache/debs"
    mkdir -p "$into.new/tree" "$cache/debs"
    (cd "$cache/debs" && apt-get -q=2 download "${packages[@]}" 2>/dev/null) ||
        missing "apt-get could not download ${packages[*]}; run apt-get update"
    for extra in "$cache"/debs/*.deb; do dpkg -x "$extra" "$into.new/tree"; done
    cp "$into.new/tree/boot/vmlinuz-$version" "$into.new/vmlinuz"
    # Debian 12 has /lib/modules; distributions with a merged /usr have /usr/lib/modules.
    for extra in "$into.new"/tree/lib "$into.new"/tree/usr/lib; do
        [ ! -d "$extra/modules/$version" ] || mv "$extra/modules/$version" "$into.new/modules"
    done
    [ -d "$into.new/modules" ] || die "package $image contains no modules"
    mkdir -p "$into.new/lib/modules" && mv "$into.new/modules" "$into.new/lib/modules/$version"
    depmod -b "$into.new" "$version"
    ln -s "lib/modules/$version" "$into.new/modules"
    rm -rf "$into.new/tree" "$cache/debs" "$into"
    mv "$into.new" "$into"
    done_step
}

# modules NAME LIST INTO: copies the modules named in the file LIST, with their dependencies, to INTO/lib/modules, and
# writes INTO/lib/modules/load: their paths, dependencies first. Modules that are built into this kernel are left out.
modules() {
    local from=$cache/$1/modules into=$3 wanted module path needs
    local -A loaded=()
    mkdir -p "$into/lib/modules"
    : >"$into/lib/modules/load"
    while read -r wanted; do
        case $wanted in '' | '#'*) continue ;; esac
        needs=$(grep -E "/${wanted//_/[-_]}\.ko[.a-z]*:" "$from/modules.dep" || true)
        if [ -z "$needs" ]; then
            grep -qE "/${wanted//_/[-_]}\.ko" "$from/modules.builtin" || die "the $1 kernel has no module $wanted"
            continue
        fi
        # modules.dep: "module: nearest dependency ... farthest dependency"; the farthest is loaded first.
        path=${needs%%:*}
        for module in $(printf '%s\n' "${needs#*:}" | tr ' ' '\n' | tac) "$path"; do
            [ -z "${loaded[$module]:-}" ] || continue
            loaded[$module]=1
            unpack_module "$from/$module" "$into/lib/modules"
        done
    done <"$2"
}

# unpack_module FILE INTO: copies a module, decompressed, and adds it to INTO/load.
unpack_module() {
    local plain
    plain=$(basename "$1")
    plain=${plain%%.ko*}.ko
    case $1 in
        *.zst) zstd -q -d -f -o "$2/$plain" "$1" ;;
        *.xz) xz -dc "$1" >"$2/$plain" ;;
        *.gz) gzip -dc "$1" >"$2/$plain" ;;
        *) cp "$1" "$2/$plain" ;;
    esac
    printf '/lib/modules/%s\n' "$plain" >>"$2/load"
}

# skeleton INTO: makes the folders, and busybox with its applets in /bin.
skeleton() {
    local into=$1 applet
    mkdir -p "$into"/{bin,dev,etc,lib/modules,proc,root,run,sys,tmp,usr}
    ln -s bin "$into/sbin"
    ln -s ../bin "$into/usr/bin"
    ln -s ../bin "$into/usr/sbin"
    cp "$(command -v busybox)" "$into/bin/busybox"
    # One call for all 270 links.
    (cd "$into/bin" && for applet in $(busybox --list); do printf '%s\0' "$applet"; done |
        grep -zvx busybox | xargs -0 -n 1 ln -s busybox)
}

# os_release INTO VERSION: writes the os-release file.
os_release() {
    printf 'NAME="RayOS"\nID=rayos\nVERSION_ID=%s\nPRETTY_NAME="RayOS %s (sample)"\n' "$2" "$2" >"$1/etc/os-release"
}

# with_libraries PROGRAM INTO: copies a program of this machine with its shared libraries.
with_libraries() {
    local library
    cp -L "$1" "$2/bin/"
    for library in $(ldd "$1" | grep -oE '/[^ ]+'); do
        mkdir -p "$2$(dirname "$library")"
        cp -L "$library" "$2$library"
    done
}

# pack_initramfs FOLDER OUT: makes a compressed cpio archive.
pack_initramfs() {
    settle_times "$1"
    (cd "$1" && find . -print0 | sort -z | cpio --quiet --null -o -H newc --reproducible -R 0:0) |
        zstd -q -12 -T0 --no-progress -f -o "$2"
}

# pack_root FOLDER OUT: makes an uncompressed erofs image, so that an unchanged file has the same bytes in each
# release.
pack_root() {
    settle_times "$1"
    rm -f "$2"
    mkfs.erofs --quiet -T "$SOURCE_DATE_EPOCH" -U 72617973-6f73-4000-8000-726f6f740000 --all-root "$2" "$1" >/dev/null
}

# uki OSRELEASE CMDLINE KERNEL INITRD OUT: makes one EFI program of kernel, initramfs, command line and systemd's
# stub.
uki() {
    local stub=/usr/lib/systemd/boot/efi/linuxx64.efi.stub at section file arguments=()
    printf '%s' "$2" >"$5.cmdline"
    # Sections follow the stub's last one. The kernel comes last, because it may need room behind it.
    at=$(objdump -h "$stub" | awk 'NF == 7 { print $3, $4 }' | while read -r size vma; do
        echo $((16#$size + 16#$vma))
    done | sort -n | tail -n 1)
    for section in osrel="$1" cmdline="$5.cmdline" initrd="$4" linux="$3"; do
        file=${section#*=}
        section=.${section%%=*}
        at=$(((at + 0xffff) & ~0xffff))
        arguments+=(--add-section "$section=$file" --change-section-vma "$section=$(printf '0x%x' "$at")"
            --set-section-flags "$section=alloc,load,data,readonly,contents")
        at=$((at + $(stat -L -c %s "$file")))
    done
    # -p keeps the time stamp of the stub instead of the current time.
    objcopy -p "${arguments[@]}" "$stub" "$5.new"
    rm "$5.cmdline"
    replace "$5.new" "$5"
}
