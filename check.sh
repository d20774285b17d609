#!/usr/bin/env bash
# Everything that must hold before a change is done: style, types, tests. Arguments go to pytest: ./check.sh -k doctor
. "$(dirname "${BASH_SOURCE[0]}")/scripts/setup.sh"

set_up dev
need tmux tmux
need git git
# The tests compile a stand-in for NVIDIA's library, for machines without a GPU.
need gcc gcc
echo '#include <stdio.h>' | gcc -E -x c - -o /dev/null 2>/dev/null || install_packages libc6-dev ||
    fail "gcc has no header files. On Debian and Ubuntu type: sudo apt-get install libc6-dev"

has chromium chromium && has chromedriver chromium-driver ||
    say "Chromium cannot be installed from here: the tests of the report's page will say that they were skipped."

unset PYTHONUNBUFFERED # it hides what buffering does to logs
unset PYTHONDONTWRITEBYTECODE # or each of some thousand processes compiles all that it imports
python -m compileall -q sweeper tests
status=0
ruff check || status=1
ruff format --check || status=1
mypy --strict || status=1
pytest -n 2 "$@" || status=1
exit "$status"
