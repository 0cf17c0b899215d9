# Sourced by dracut, perhaps more than once.
# shellcheck shell=sh disable=SC2154
if [ "${root:-}" = rayos ] && ! ismounted "$NEWROOT"; then
    # It restarts the machine if it cannot continue, except where no guard counts the starts.
    /usr/lib/rayos/rayos-root boot "$NEWROOT" || die "rayos-root: no root; the lines before have the reason"
fi
