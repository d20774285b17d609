"""What try.sh and check.sh do on machines where something is missing: install it, or say exactly what to type."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOOLS = ("bash", "dirname", "cat", "cksum", "mktemp", "rm", "tail", "env", "chmod", "grep")


@pytest.fixture
def bin_dir(tmp_path: Path) -> Path:
    """A folder of commands that is the whole PATH: a machine of which the test decides what it has."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found
        (folder / tool).symlink_to(found)
    return folder


def command(bin_dir: Path, name: str, script: str) -> None:
    (bin_dir / name).unlink(missing_ok=True)
    (bin_dir / name).write_text(f"#!{shutil.which('bash')}\n{script}\n")
    (bin_dir / name).chmod(0o755)


def source(bin_dir: Path, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(bin_dir / "bash"), "-c", f". {ROOT}/scripts/setup.sh; {script}"],
        env={"PATH": str(bin_dir), **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )


def apt(bin_dir: Path) -> Path:
    """A package manager that knows its packages only after an update, and then 'installs' a command of that name."""
    log = bin_dir.parent / "apt.log"
    command(
        bin_dir,
        "apt-get",
        f'echo "$*" >>{log}; last=${{@: -1}}\n'
        f"case $1 in update) : >{log}.lists ;; install) [ -e {log}.lists ] || exit 100\n"
        f"printf '#!{bin_dir}/bash\\n' >{bin_dir}/$last; chmod 755 {bin_dir}/$last ;; esac",
    )
    return log


def test_an_old_python_is_named(bin_dir: Path) -> None:
    command(bin_dir, "python3", 'if [ "$1" = --version ]; then echo Python 3.8.10; else exit 1; fi')
    done = source(bin_dir, "find_python")
    assert done.returncode == 1
    assert "Python 3.10 or newer, and Python 3.8.10 is what there is here" in done.stderr
    assert "PYTHON=" in done.stderr


def test_a_newer_python_beside_an_old_one_is_found(bin_dir: Path) -> None:
    command(bin_dir, "python3", 'if [ "$1" = --version ]; then echo Python 3.8.10; else exit 1; fi')
    command(bin_dir, "python3.12", "exit 0")
    assert source(bin_dir, "find_python").stdout.strip() == str(bin_dir / "python3.12")


def test_no_python_at_all(bin_dir: Path) -> None:
    done = source(bin_dir, "find_python")
    assert done.returncode == 1
    assert "no python3 is what there is" in done.stderr


@pytest.mark.parametrize("sudo", [False, True], ids=["root", "sudo"])
def test_a_missing_package_is_installed(bin_dir: Path, sudo: bool) -> None:
    log = apt(bin_dir)
    command(bin_dir, "id", f"echo {1000 if sudo else 0}")
    if sudo:
        command(bin_dir, "sudo", '[ "$1" = -n ] || exit 9; shift; exec "$@"')
        command(bin_dir, "true", "exit 0")
    done = source(bin_dir, "has tmux tmux; echo status $?")
    assert done.stdout == "Installing tmux by apt-get ...\nstatus 0\n"
    installs = [line.split()[0] for line in log.read_text().splitlines()]
    assert installs == ["install", "update", "install"]
    assert source(bin_dir, "has tmux tmux; echo status $?").stdout == "status 0\n"  # nothing to do any more


def test_where_installing_is_not_allowed_it_is_told_what_to_type(bin_dir: Path) -> None:
    log = apt(bin_dir)
    command(bin_dir, "id", "echo 1000")
    command(bin_dir, "sudo", "exit 1")
    done = source(bin_dir, "need gcc gcc libc6-dev")
    assert done.returncode == 1
    assert done.stderr.strip().endswith("Type: sudo apt-get install gcc libc6-dev")
    assert not log.exists()


def test_a_python_without_venv(bin_dir: Path, tmp_path: Path) -> None:
    """Debian's python3 has the module venv, which fails for want of ensurepip until python3.X-venv is there."""
    log = apt(bin_dir)
    command(bin_dir, "id", "echo 0")
    command(
        bin_dir,
        "python3",
        f'case "$1 $2" in "-m venv") [ -e {bin_dir}/python3.12-venv ] || {{ echo no ensurepip; exit 1; }} ;;\n'
        "-c*) echo 3.12 ;; esac",
    )
    done = source(bin_dir, f"VENV={tmp_path}/venv; make_venv python3; echo status $?")
    assert done.stdout == "Installing python3.12-venv by apt-get ...\nstatus 0\n"
    assert "install" in log.read_text()
    command(bin_dir, "id", "echo 1000")
    (bin_dir / "python3.12-venv").unlink()
    done = source(bin_dir, f"VENV={tmp_path}/venv; make_venv python3")
    assert done.returncode == 1
    assert "no ensurepip" in done.stderr
    assert "sudo apt-get install python3.12-venv" in done.stderr


@pytest.mark.parametrize("script", ["scripts/setup.sh", "try.sh", "check.sh", ".ci/run"])
def test_the_scripts_are_bash(script: str) -> None:
    subprocess.run(["bash", "-n", str(ROOT / script)], check=True)
    assert script == "scripts/setup.sh" or os.access(ROOT / script, os.X_OK)
