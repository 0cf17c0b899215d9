#!/usr/bin/env bash
# Runs the installer's plan, which touches no disk, and checks markers and JSON. Prints PASS.
set -euo pipefail
# shellcheck source=scripts/lib/env.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/env.sh"
need_rust

"$CARGO" build --quiet -p rayos-installer --bins
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# plan NAME MARKERS [ARGUMENT...]: runs the plan; checks its markers, in order, and that its stdout is JSON.
plan() {
    local what=$1 wanted=$2 found
    shift 2
    target/debug/rayos-installer "$@" >"$work/plan.json" 2>"$work/markers" ||
        { cat "$work/markers" >&2; die "$what: exit code $?"; }
    found=$(sed -n 's/^RAYOS_INSTALLER:\([A-Z_]*\).*/\1/p' "$work/markers" | tr '\n' ' ')
    [ "$found" = "$wanted " ] || die "$what: markers are $found, expected $wanted"
    python3 - "$work/plan.json" <<'PYTHON' || die "$what: stdout is not one JSON object"
import json, sys
plan = json.load(open(sys.argv[1]))
assert isinstance(plan, dict) and plan, plan
PYTHON
    say "  $what: markers in order, JSON valid"
}

plan "sample machine" "STARTED SAMPLE_MODE PLAN_GENERATED JSON_EMITTED COMPLETE"
plan "this machine's disks" "STARTED REAL_MODE PLAN_GENERATED JSON_EMITTED COMPLETE" plan --enumerate-local-disks
echo PASS
