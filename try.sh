#!/usr/bin/env bash
# A first look: sets sweep up in .sweep-venv and runs a real sweep, 12 trainings of a small network, in about a minute.
# Run again, it keeps what has finished. To take all of it away: rm -r .sweep-venv runs
. "$(dirname "${BASH_SOURCE[0]}")/scripts/setup.sh"

set_up examples
how=(--parallel 2)
if ! has tmux tmux; then
    say "tmux is missing and cannot be installed from here (type: $(by_hand tmux))." \
        "So this goes on without it, one run after the other in this terminal."
    how=(--serial --here)
fi

say "\$ sweep sweeps/digits.yaml ${how[*]}"
status=0
sweep sweeps/digits.yaml "${how[@]}" || status=$?
if [ "$status" = 0 ]; then
    say "" "To go on from here: source .sweep-venv/bin/activate; sweep --help; sweep report digits --html"
fi
exit "$status"
