#!/usr/bin/env bash
# Starts the installation stick in QEMU without a screen, with a disposable disk, and checks the installation by its
# markers and by the partitions afterwards. Prints PASS. Touches no disk of this machine.
set -euo pipefail
# shellcheck source=scripts/lib/env.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/env.sh"
need_rust

scripts/build-installer-media.sh >/dev/null
RAYOS_SAMPLE=$top/build/sample "$CARGO" test --quiet -p rayos-tests --test qemu -- --exact install::the_stick_installs_the_content_of_the_bundle >&2
echo PASS
