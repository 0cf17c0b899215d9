# shellcheck shell=bash
# Sourced by all scripts of this folder: finds the project and the Rust tools, and prints progress.
#
# Sets top (the project's folder, and makes it the current one), CARGO, RUSTC, RAYOS_RUST (rustup, distro or none).

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$top" || exit 1

# Tools for administrators (sgdisk, mkfs.vfat, depmod) are not on the path of every user.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# The oldest Rust that builds this project, from Cargo.toml.
rust_needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

# say WORDS...: prints one line of progress on stderr; stdout is for results.
say() { printf '%s\n' "$*" >&2; }

# die WORDS...: prints the reason and exits with 1.
die() { say "${0##*/}: $*"; exit 1; }

# missing WORDS...: prints what this machine lacks and exits with 77.
missing() { say "${0##*/}: $*"; exit 77; }

# newer_or_same HAVE NEED: succeeds if version HAVE is NEED or later.
newer_or_same() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

# rust_version_of RUSTC: prints its version, or nothing.
rust_version_of() { "$1" --version 2>/dev/null | sed -n 's/^rustc \([0-9.]*\).*/\1/p'; }

# find_rust: selects the Rust tools. rustup's come first, because they follow the newest release, then the
# distribution's `rustc-web` and `cargo-web`, or its rustc if that is new enough.
find_rust() {
    local home=${CARGO_HOME:-$HOME/.cargo} folder version
    RAYOS_RUST=none
    for folder in "$home/bin" "$(dirname "$(command -v cargo 2>/dev/null || echo /none/cargo)")" /usr/bin /usr/share/cargo/bin; do
        [ -x "$folder/cargo" ] || continue
        version=$(rust_version_of "$folder/rustc")
        [ -n "$version" ] || version=$(rust_version_of /usr/bin/rustc)
        if [ -n "$version" ] && newer_or_same "$version" "$rust_needed"; then
            CARGO=$folder/cargo
            RUSTC=$folder/rustc
            [ -x "$RUSTC" ] || RUSTC=/usr/bin/rustc
            PATH=$folder:$PATH
            RAYOS_RUST=distro
            [ ! -x "$folder/rustup" ] || RAYOS_RUST=rustup
            break
        fi
    done
    export PATH CARGO RAYOS_RUST
    # rustup's cargo finds its own rustc.
    [ "$RAYOS_RUST" != distro ] || export RUSTC
}
CARGO=${CARGO:-cargo}
RUSTC=${RUSTC:-rustc}
find_rust

# need_rust: ends the script if there is no Rust that can build this project.
need_rust() {
    [ "$RAYOS_RUST" != none ] || missing "found no Rust $rust_needed or later; run scripts/setup"
}

# need_space GIB: ends the script if the disk cannot hold a complete build of GIB GiB.
need_space() {
    local have built
    have=$(df --output=avail -BM . | tail -n 1 | tr -dc 0-9)
    # In a fresh clone neither folder exists.
    built=$({ du -smc target build 2>/dev/null || true; } | tail -n 1 | cut -f 1)
    [ $((have + built)) -ge $(($1 * 1024)) ] ||
        missing "needs $1 GiB of disk in total: $((built / 1024)) GiB are built already, and $((have / 1024)) GiB are free"
}

# `step WORDS...` starts a step, and `done_step` prints it with its time, on one line.
step() {
    step_words=$*
    step_began=${EPOCHREALTIME/[^0-9]/}
}
done_step() {
    local now=${EPOCHREALTIME/[^0-9]/}
    local tenths=$(((now - step_began) / 100000))
    printf '  %-62s %4d.%d s\n' "$step_words" $((tenths / 10)) $((tenths % 10)) >&2
}

# fresh OUT INPUT...: succeeds if OUT exists and no input (file or folder) is newer.
fresh() {
    local out=$1 input
    shift
    [ -e "$out" ] || return 1
    for input; do
        [ -e "$input" ] || return 1
        [ -z "$(find "$input" ! -type d -newer "$out" -print -quit)" ] || return 1
    done
}

# replace NEW OUT: moves NEW to OUT, unless OUT has the same bytes. Then OUT keeps its time, and its dependants are
# not made again.
replace() {
    if [ -e "$2" ] && cmp -s "$1" "$2"; then
        rm -f "$1"
    else
        mv -f "$1" "$2"
    fi
}
