# Sourced by try.sh and check.sh: a virtual environment in .sweep-venv, and the few system packages they need.
# shellcheck shell=bash

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
VENV=$PWD/.sweep-venv
unset PYTHONHOME PYTHONPATH

say() { printf '%s\n' "$@"; }
fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

# The first Python that is new enough; $PYTHON, where it is set, is the only one that is asked.
find_python() {
    local candidate seen=""
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python3.10}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
        [ -n "$seen" ] || seen=$("$candidate" --version 2>/dev/null || true)
    done
    fail "sweep needs Python 3.10 or newer, and ${seen:-no ${PYTHON:-python3}} is what there is here." \
        "Install one (Debian and Ubuntu: apt install python3; without administrator: uv, pyenv or conda)," \
        "and where it is not called python3, name it: PYTHON=/path/to/python3.12 $0"
}

# How to become root without being asked for a password: nothing, sudo -n, or no way at all (status 1).
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif sudo -n true 2>/dev/null; then
        sudo -n "$@"
    else
        return 1
    fi
}

package_manager() {
    local manager
    for manager in apt-get dnf yum zypper pacman apk; do
        if command -v "$manager" >/dev/null; then
            echo "$manager"
            return
        fi
    done
}

# What a person has to type to install these packages here.
by_hand() {
    case $(package_manager) in
        apt-get) echo "sudo apt-get install $*" ;;
        dnf | yum | zypper) echo "sudo $(package_manager) install $*" ;;
        pacman) echo "sudo pacman -S $*" ;;
        apk) echo "sudo apk add $*" ;;
        *) echo "install $* by this system's package manager" ;;
    esac
}

# Install system packages, saying so; status 1 where that is not allowed or does not work.
install_packages() {
    local manager log
    manager=$(package_manager)
    if [ -z "$manager" ] || ! as_root true; then
        return 1
    fi
    say "Installing $* by $manager ..."
    log=$(mktemp)
    if run_manager "$manager" "$@" >"$log" 2>&1 </dev/null; then
        rm -f "$log"
        return 0
    fi
    tail -n 5 "$log" >&2
    rm -f "$log"
    return 1
}

run_manager() {
    local manager=$1
    shift
    case $manager in
        apt-get)
            local options=(-y --no-install-recommends -o DPkg::Lock::Timeout=120)
            as_root env DEBIAN_FRONTEND=noninteractive apt-get install "${options[@]}" "$@" ||
                { # the lists of packages are missing in a fresh container, or out of date
                    as_root apt-get update &&
                        as_root env DEBIAN_FRONTEND=noninteractive apt-get install "${options[@]}" "$@"
                }
            ;;
        dnf | yum) as_root "$manager" install -y "$@" ;;
        zypper) as_root zypper --non-interactive install "$@" ;;
        pacman) as_root pacman -Sy --noconfirm --needed "$@" ;;
        apk) as_root apk add "$@" ;;
    esac
}

# has COMMAND PACKAGE...: whether the command is here, now or after its packages were installed.
has() {
    command -v "$1" >/dev/null || { install_packages "${@:2}" && hash -r && command -v "$1" >/dev/null; }
}

need() {
    has "$@" || fail "$1 is missing and cannot be installed from here. Type: $(by_hand "${@:2}")"
}

make_venv() {
    local python=$1 version log
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    log=$(mktemp)
    if ! "$python" -m venv --clear "$VENV" >"$log" 2>&1; then
        # Debian and Ubuntu keep this part of Python in a package of its own.
        if [ "$(package_manager)" != apt-get ] || ! install_packages "python$version-venv" ||
            ! "$python" -m venv --clear "$VENV" >"$log" 2>&1; then
            tail -n 5 "$log" >&2
            rm -f "$log"
            fail "$python cannot make a virtual environment." \
                "On Debian and Ubuntu type: sudo apt-get install python$version-venv"
        fi
    fi
    rm -f "$log"
}

# set_up EXTRA: sweep, as it stands in this checkout, installed in .sweep-venv with one of pyproject's extras.
# Where pyproject.toml, the checkout's place and Python are what they were, nothing is done.
set_up() {
    local extra=$1 python stamp wanted
    stamp=$VENV/.installed-$extra
    wanted="$PWD $(cksum <pyproject.toml)"
    if [ ! -e "$stamp" ] || [ "$(cat "$stamp")" != "$wanted" ] || ! "$VENV/bin/python" -c '' 2>/dev/null; then
        if ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1 || ! grep -qsxF "$PWD" "$VENV/.place"; then
            python=$(find_python)
            say "Making a virtual environment in .sweep-venv with $("$python" --version) ..."
            make_venv "$python"
            echo "$PWD" >"$VENV/.place"
        fi
        say "Installing sweep[$extra] into it; this takes a minute the first time ..."
        "$VENV/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --editable ".[$extra]" </dev/null ||
            fail "pip could not install sweep: see above. Without a network, point PIP_INDEX_URL or PIP_FIND_LINKS at a mirror."
        echo "$wanted" >"$stamp"
    fi
    export VIRTUAL_ENV=$VENV PATH=$VENV/bin:$PATH
    hash -r
}
