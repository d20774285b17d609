"""``sweep resume --at-boot``: what is written runs the very command, twice is as once, and all of it goes away again.

systemctl, loginctl and crontab are stand-ins on a PATH of the test's own; the crontab's line is run as cron runs it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sweeper import boot
from sweeper.errors import SweepError

ODD = "a b%c'd\"e$HOME$(touch pwned)%h\\n;é"
Env = dict[str, str]


@pytest.fixture
def env(tmp_path: Path) -> Env:
    """A home of the test's own, and a PATH that has nothing yet that could write anything."""
    for folder in ("home", "bin"):
        (tmp_path / folder).mkdir()
    for tool in ("bash", "cat", "mkdir", "ln", "rm", "env"):
        found = shutil.which(tool)
        assert found
        (tmp_path / "bin" / tool).symlink_to(found)
    return {"HOME": str(tmp_path / "home"), "PATH": str(tmp_path / "bin")}


def command(env: Env, name: str, script: str) -> None:
    path = Path(env["PATH"], name)
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def cron(env: Env, tmp_path: Path) -> Path:
    """A crontab command that keeps its table in a file."""
    table = tmp_path / "table"
    script = f'if [ "$1" = - ]; then cat >{table}; elif [ -e {table} ]; then cat {table}; '
    command(env, "crontab", script + "else echo 'no crontab for tester' >&2; exit 1; fi")
    return table


@pytest.fixture
def systemd(env: Env, tmp_path: Path) -> Path:
    """A systemctl that links units as the real one does, and notes what it was told."""
    log = tmp_path / "systemctl.log"
    command(
        env,
        "systemctl",
        f'echo "$*" >>{log}; units=${{XDG_CONFIG_HOME:-$HOME/.config}}/systemd/user\n'
        'case $2 in enable) mkdir -p "$units/default.target.wants"; [ -e "$units/$3" ] || exit 5\n'
        'ln -sf "$units/$3" "$units/default.target.wants/" ;; disable) rm -f "$units/default.target.wants/$3" ;; esac',
    )
    command(env, "loginctl", "echo Linger=no")
    return log


def recorder(tmp_path: Path) -> list[str]:
    """A command with an odd path that writes down how it was called."""
    folder = tmp_path / ODD
    folder.mkdir()
    program = folder / "sweep"
    program.write_text(
        '#!/bin/sh\nprintf "%s\\n" "$@" >"${0%/*}/called"\necho "$PATH" >"${0%/*}/path"\npwd >"${0%/*}/cwd"\n'
    )
    program.chmod(0o755)
    return [str(program), ODD]


def as_cron_runs(line: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """crontab(5): the first % that has no backslash ends the command, and the backslash before a % goes away."""
    assert line.startswith("@reboot ")
    text = re.split(r"(?<!\\)%", line.removeprefix("@reboot "))[0].replace("\\%", "%")
    return subprocess.run(["/bin/sh", "-c", text], cwd=folder, env={"PATH": "/usr/bin:/bin", **variables}, check=True)


def test_a_program_that_its_interpreter_does_not_find_by_itself_is_told_where_it_is(env: Env) -> None:
    ours = str(Path(boot.__file__).resolve().parents[2])
    assert boot.command(env) in (
        [sys.executable, "-m", "sweeper"],  # installed
        [f"PYTHONPATH={ours}", sys.executable, "-m", "sweeper"],
    )
    found = boot.command({**env, "PYTHONPATH": f"relative:{ours}"})
    assert found[0] == sys.executable or found[0] == f"PYTHONPATH={ours}:{os.getcwd()}/relative"


# -- cron ----------------------------------------------------------------------------------------------------------


def test_the_line_of_the_crontab_runs_the_command(env: Env, cron: Path, tmp_path: Path) -> None:
    argv0 = recorder(tmp_path)
    env["XDG_STATE_HOME"] = str(tmp_path / ODD / "state")
    plan = boot.plan(argv0, env)
    assert (plan.kind, plan.path, plan.commands) == ("cron", None, ())
    assert boot.install(plan, env)
    (line,) = cron.read_text().splitlines()
    assert line == plan.text
    assert line in plan.shown()
    as_cron_runs(line, tmp_path)
    assert (tmp_path / ODD / "called").read_text().splitlines() == [ODD, "resume", "--all"]
    assert env["PATH"] in (tmp_path / ODD / "path").read_text().strip().split(":")
    assert (tmp_path / ODD / "state/sweep/boot.log").exists()
    assert (tmp_path / ODD / "cwd").read_text() == "/\n"  # a folder called sweeper at home would be imported
    assert not list(tmp_path.rglob("pwned"))


def test_the_crontab_is_otherwise_left_as_it_is(env: Env, cron: Path) -> None:
    other = "# mine\nMAILTO=me\n\n0 5 * * * backup --to=50\\% 'x'  \n"
    cron.write_text(other)
    plan = boot.plan(["/opt/sweep"], env)
    assert boot.install(plan, env)
    assert cron.read_text() == f"{other}{plan.text}\n"
    assert not boot.install(plan, env)
    newer = boot.plan(["/opt/newer/sweep"], env)
    assert boot.install(newer, env)
    assert cron.read_text() == f"{other}{newer.text}\n"
    assert boot.remove(env) == ["the @reboot line in your crontab"]
    assert cron.read_text() == other
    assert boot.remove(env) == []


def test_no_crontab_is_made_to_remove_from_it(env: Env, cron: Path) -> None:
    assert boot.remove(env) == []
    assert not cron.exists()


def test_a_user_who_may_not_have_a_crontab(env: Env) -> None:
    command(env, "crontab", "echo 'You (tester) are not allowed to use this program (crontab)' >&2; exit 1")
    with pytest.raises(SweepError, match=r"cannot be read: You .tester. are not allowed"):
        boot.install(boot.plan(["/opt/sweep"], env), env)


def test_a_crontab_that_refuses(env: Env) -> None:
    command(env, "crontab", '[ "$1" = - ] && { echo "disk full" >&2; exit 1; }; echo "@daily x"')
    with pytest.raises(SweepError, match="cannot be written: disk full"):
        boot.install(boot.plan(["/opt/sweep"], env), env)


def test_a_path_too_long_for_cron(env: Env, cron: Path) -> None:
    with pytest.raises(SweepError, match="too long"):
        boot.plan(["/" + "x" * 1000], env)


@pytest.mark.parametrize("bad", ["/opt/a\nb", "/opt/\x1b[31m", "/opt/\udcff"])
def test_what_no_file_could_hold(env: Env, cron: Path, bad: str) -> None:
    with pytest.raises(SweepError, match="control characters"):
        boot.plan([bad], env)


# -- systemd -------------------------------------------------------------------------------------------------------


def words_of(unit: str) -> list[str]:
    """The words of ExecStart as systemd reads them: quotes first, then specifiers and variables."""
    (line,) = (line for line in unit.splitlines() if line.startswith("ExecStart="))
    words = shlex.split(line.removeprefix("ExecStart="))
    for word in words:
        assert not re.search(r"%(?!%)", word.replace("%%", ""))
        assert "$" not in word.replace("$$", "")
    return [word.replace("%%", "%").replace("$$", "$") for word in words]


def test_the_unit_runs_the_command(env: Env, systemd: Path, tmp_path: Path) -> None:
    argv0 = recorder(tmp_path)
    plan = boot.plan(argv0, env)
    assert plan.kind == "systemd"
    assert boot.install(plan, env)
    unit = tmp_path / "home/.config/systemd/user/sweep-resume.service"
    assert plan.path == unit
    assert unit.read_text() == plan.text
    assert (unit.parent / "default.target.wants" / unit.name).exists()
    assert systemd.read_text().splitlines()[-2:] == ["--user daemon-reload", "--user enable sweep-resume.service"]
    words = words_of(unit.read_text())
    assert words[0] == "/usr/bin/env"
    subprocess.run(words, cwd=tmp_path, check=True)
    assert (tmp_path / ODD / "called").read_text().splitlines() == [ODD, "resume", "--all"]
    assert all(line in plan.shown() for line in plan.text.splitlines())
    assert "systemctl --user enable sweep-resume.service" in plan.shown()


def test_systemd_itself_reads_the_unit(env: Env, systemd: Path, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed here")
    plan = boot.plan(["/opt/a b/sweep%1", ODD], env)
    boot.install(plan, env)
    done = subprocess.run(
        [analyze, "--user", "verify", str(plan.path)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    complaints = [line for line in done.stderr.splitlines() if "sweep-resume.service" in line]
    assert complaints == []


def test_the_unit_again_and_away(env: Env, systemd: Path, tmp_path: Path) -> None:
    env["XDG_CONFIG_HOME"] = str(tmp_path / "config dir")
    plan = boot.plan(["/opt/sweep"], env)
    assert boot.install(plan, env)
    assert not boot.install(plan, env)
    unit = tmp_path / "config dir/systemd/user/sweep-resume.service"
    assert f"XDG_CONFIG_HOME={tmp_path}/config dir" in words_of(unit.read_text())
    assert boot.remove(env) == [str(unit)]
    assert not unit.exists()
    assert list(unit.parent.rglob("*.service")) == []
    assert boot.remove(env) == []


def test_the_unit_goes_away_without_systemd_too(env: Env, systemd: Path) -> None:
    plan = boot.plan(["/opt/sweep"], env)
    boot.install(plan, env)
    Path(env["PATH"], "systemctl").unlink()
    assert boot.remove(env) == [str(plan.path)]
    assert plan.path is not None
    assert not os.path.lexists(plan.path.parent / "default.target.wants" / plan.path.name)


def test_one_way_replaces_the_other(env: Env, systemd: Path, cron: Path) -> None:
    unit = boot.plan(["/opt/sweep"], env)
    boot.install(unit, env)
    command(env, "systemctl", 'if [ "$2" = show-environment ]; then exit 1; fi')
    line = boot.plan(["/opt/sweep"], env)
    assert line.kind == "cron"
    assert boot.install(line, env)
    assert unit.path is not None
    assert not unit.path.exists()
    boot.install(unit, env)
    assert cron.read_text() == ""


def test_what_systemctl_refuses(env: Env, systemd: Path) -> None:
    plan = boot.plan(["/opt/sweep"], env)
    command(env, "systemctl", 'if [ "$2" = enable ]; then echo "Unit is masked." >&2; exit 1; fi')
    with pytest.raises(SweepError, match=r"systemctl --user enable sweep-resume.service failed: Unit is masked\."):
        boot.install(plan, env)


@pytest.mark.parametrize(("says", "expected"), [("yes", True), ("no", False)])
def test_lingering(env: Env, systemd: Path, says: str, expected: bool) -> None:
    command(env, "loginctl", f"echo Linger={says}")
    assert boot.lingering(env) is expected
    notes = "\n".join(boot.plan(["/opt/sweep"], env).notes)
    assert ("enable-linger" in notes) is not expected


def test_lingering_without_logind(env: Env) -> None:
    assert boot.lingering(env) is None


def test_a_machine_that_offers_neither(env: Env) -> None:
    with pytest.raises(SweepError, match="neither a systemd of yours"):
        boot.plan(["/opt/sweep"], env)
