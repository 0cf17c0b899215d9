# Sourced by dracut: without root= on the kernel's command line, the root is that of the slot that was started.
# shellcheck shell=sh disable=SC2034
if [ -z "${root:-}" ]; then
    root=rayos
    rootok=1
fi
