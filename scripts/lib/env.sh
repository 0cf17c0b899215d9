# shellcheck shell=bash
# Sourced by every script of this folder: the project's folder, the Rust tools, and how a step is told.
#
# Sets: top (the project's folder, also the current one afterwards), CARGO, RUSTC, RAYOS_RUST (rustup, distro or none).

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$top" || exit 1

# Tools of the system administrator's folders (sgdisk, mkfs.vfat, depmod) are not on every user's path.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# The oldest Rust that builds this project: rust-version in Cargo.toml.
rust_needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

# say WORDS...: one line of progress. Results go to stdout, so this goes to stderr.
say() { printf '%s\n' "$*" >&2; }

# die WORDS...: says why and ends with "failed, nothing changed".
die() { say "${0##*/}: $*"; exit 1; }

# missing WORDS...: says what this machine does not have and ends with the code for it.
missing() { say "${0##*/}: $*"; exit 77; }

# newer_or_same HAVE NEED: whether version HAVE is NEED or later.
newer_or_same() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

# rust_version_of RUSTC: its version, or nothing.
rust_version_of() { "$1" --version 2>/dev/null | sed -n 's/^rustc \([0-9.]*\).*/\1/p'; }

# find_rust: chooses the Rust tools. rustup's come first, since they follow the newest release; the distribution's
# `rustc-web` and `cargo-web` (or its own rustc, where new enough) do as well.
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
    # cargo of rustup finds its own.
    [ "$RAYOS_RUST" != distro ] || export RUSTC
}
CARGO=${CARGO:-cargo}
RUSTC=${RUSTC:-rustc}
find_rust

# need_rust: ends the script with one sentence where there is no Rust that can build this project.
need_rust() {
    [ "$RAYOS_RUST" != none ] || missing "no Rust $rust_needed or later was found; scripts/setup says how to get one"
}

# need_space GIB: ends the script with one sentence where the disk cannot hold what is still to be built, of GIB in all.
need_space() {
    local have built
    have=$(df --output=avail -BM . | tail -n 1 | tr -dc 0-9)
    # In a fresh clone neither is there.
    built=$({ du -smc target build 2>/dev/null || true; } | tail -n 1 | cut -f 1)
    [ $((have + built)) -ge $(($1 * 1024)) ] ||
        missing "this takes $1 GiB of disk in all, and there are $((have / 1024)) GiB free beside the $((built / 1024)) GiB built already"
}

# Steps. `step WORDS...` starts one and `done_step` ends it with its time, on one line.
step() {
    step_words=$*
    step_began=${EPOCHREALTIME/[^0-9]/}
}
done_step() {
    local now=${EPOCHREALTIME/[^0-9]/}
    local tenths=$(((now - step_began) / 100000))
    printf '  %-62s %4d.%d s\n' "$step_words" $((tenths / 10)) $((tenths % 10)) >&2
}

# fresh OUT INPUT...: whether OUT exists and nothing among the inputs (files or folders) is newer.
fresh() {
    local out=$1 input
    shift
    [ -e "$out" ] || return 1
    for input; do
        [ -e "$input" ] || return 1
        [ -z "$(find "$input" ! -type d -newer "$out" -print -quit)" ] || return 1
    done
}

# replace NEW OUT: puts NEW in OUT's place, unless OUT has these bytes already: then OUT keeps its time, and what
# depends on it is not made again.
replace() {
    if [ -e "$2" ] && cmp -s "$1" "$2"; then
        rm -f "$1"
    else
        mv -f "$1" "$2"
    fi
}
