"""sweep doctor: each line is tried on a machine where it is well and on a stand-in where it is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from sweeper import doctor, paths
from sweeper.doctor import locks, login, machine, place, room
from sweeper.doctor.check import Check, ask, listed, size
from sweeper.errors import SweepError
from sweeper.lease import devices
from sweeper.lease import folder as lease_folder
from tests.conftest import TMUX

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def bin_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder before all others on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def command(bin_dir: Path, name: str, script: str) -> None:
    (bin_dir / name).write_text(f"#!/bin/sh\n{script}\n")
    (bin_dir / name).chmod(0o755)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


# -- the whole -----------------------------------------------------------------------------------------------------


def test_everything_is_looked_at_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock_folder, make = lease_folder.choose(), tempfile.mkdtemp
    made: list[str] = []  # not what there is: another worker's doctor may be at work

    def noted(*words: Any, **named: Any) -> str:
        made.append(make(*words, **named))
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", noted)
    found = doctor.checks(tmp_path / "runs")
    assert not [name for name in os.listdir(lock_folder) if name.startswith(f".doctor-{os.getpid()}")]
    assert made
    assert not [folder for folder in made if Path(folder).exists()]
    assert list(tmp_path.iterdir()) == []
    names = [check.name for check in found]
    for name in ("tmux", "logout", "batch job", "connection", "GPU locks", "runs folder", "disk space", "terminal"):
        assert name in names
    for check in found:
        assert check.level in ("ok", "warn", "bad")
        assert check.text.isprintable()
        assert check.level == "ok" or check.remedy


def test_what_cannot_be_looked_at_is_a_line_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Check:
        raise PermissionError(13, "Permission denied", "/proc/\x1b[31m")

    monkeypatch.setattr(login, "tmux", broken)
    (check,) = (check for check in doctor.checks(tmp_path) if check.name == "tmux")
    assert check.level == "bad"
    assert "Permission denied" in check.text
    assert "\x1b" not in check.text


def test_the_table_shows_text_and_remedy_and_no_markup() -> None:
    from rich.console import Console

    out = StringIO()
    console = Console(file=out, width=200, force_terminal=False)
    console.print(doctor.table([Check("disk", "bad", "[bold]full\x1b[2J", "rm [red]x"), Check("net", "ok", "up")]))
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert lines == ["bad  disk  [bold]full [2J", "           rm [red]x", "ok   net   up"]


def test_numbers_for_people() -> None:
    assert [size(number) for number in (0, 999, 1000, 5_250_000, 812e9, 3.2e12)] == [
        "0 bytes",
        "999 bytes",
        "1.0 kB",
        "5.2 MB",
        "812 GB",
        "3.2 TB",
    ]
    assert listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"


def test_a_program_that_hangs_or_is_missing(bin_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeper.doctor.check.SECONDS", 0.2)
    command(bin_dir, "hangs", "exec tail -f /dev/null")
    assert ask("hangs")[0] == 127
    assert ask("no-such-program-of-ours")[0] == 127


# -- tmux, logout, batch job, connection, reboot -------------------------------------------------------------------


def test_tmux_opens_a_session() -> None:
    check = login.tmux()
    assert check.level == "ok"
    assert check.text.startswith("tmux 3")


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo tmux 2.9a", "tmux 2.9a is too old"),
        (
            'if [ "$1" = -V ]; then echo tmux 3.4; else echo "open terminal failed" >&2; exit 1; fi',
            "open terminal fail",
        ),
    ],
)
def test_a_tmux_that_will_not_do(bin_dir: Path, script: str, says: str) -> None:
    command(bin_dir, "tmux", script)
    check = login.tmux()
    assert check.level == "bad"
    assert says in check.text
    assert "--serial --here" in check.remedy


def test_no_tmux(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert login.tmux().text == "not installed"


@pytest.mark.parametrize("version", ["tmux 3.0", "tmux next-3.6", "tmux master"])
def test_versions_of_tmux_that_will_do(bin_dir: Path, version: str) -> None:
    command(bin_dir, "tmux", f'if [ "$1" = -V ]; then echo {version}; else exec {TMUX} "$@"; fi')
    assert login.tmux().level == "ok"


@pytest.mark.parametrize(
    ("conf", "named"),
    [
        ("set -s exit-unattached on", "exit-unattached on"),
        ("set-hook -g session-created kill-session", "session-created[0] kill-session"),
        ("set-hook -g window-linked kill-window", "window-linked[0] kill-window"),
    ],
)
def test_a_tmux_conf_that_leaves_no_session(private: Path, conf: str, named: str) -> None:
    write(private / "home/.tmux.conf", f"{conf}\n")
    check = login.tmux()
    assert check.level == "bad"
    assert "closes again at once" in check.text
    assert f"in your tmux.conf: {named}" in check.remedy
    assert "--serial --here" in check.remedy


@pytest.mark.parametrize("conf", ["set -g destroy-unattached on", "set-hook -g session-created 'rename-session mine'"])
def test_a_tmux_conf_that_is_no_obstacle_to_a_launch(private: Path, conf: str) -> None:
    write(private / "home/.tmux.conf", f"{conf}\n")
    assert login.tmux().level == "ok"
    assert subprocess.run([TMUX, "ls"], capture_output=True).returncode != 0, "and the user's own server is left alone"


@pytest.fixture
def systemd(tmp_path: Path, bin_dir: Path) -> Path:
    """The root of a machine with systemd, whose loginctl does not answer yet; no tmux server."""
    (tmp_path / "root/run/systemd/system").mkdir(parents=True)
    command(bin_dir, "loginctl", "exit 1")
    command(bin_dir, "tmux", "exit 1")
    return tmp_path / "root"


def test_without_systemd_nothing_ends_at_logout(tmp_path: Path) -> None:
    (check,) = login.logout(tmp_path)
    assert check.level == "ok"


def test_logind_that_kills(systemd: Path, bin_dir: Path) -> None:
    command(bin_dir, "loginctl", "echo KillUserProcesses=yes; echo KillExcludeUsers=somebody; echo KillOnlyUsers=")
    check = login.logout(systemd)[0]
    assert check.level == "bad"
    assert "KillUserProcesses=no" in check.remedy
    assert "enable-linger" in check.remedy


@pytest.mark.parametrize("spared", ["KillExcludeUsers=root ME", "KillOnlyUsers=somebody"])
def test_logind_that_kills_others(systemd: Path, bin_dir: Path, spared: str) -> None:
    from sweeper import boot

    spared = spared.replace("ME", boot.user_name())
    command(bin_dir, "loginctl", f"echo KillUserProcesses=yes; echo KillExcludeUsers=; echo {spared}")
    assert login.logout(systemd)[0].level == "ok"


def test_logind_by_its_files(systemd: Path) -> None:
    write(systemd / "etc/systemd/logind.conf", "[Login]\n#KillUserProcesses=yes\nKillExcludeUsers=\n")
    assert login.logout(systemd)[0].level == "ok"
    write(systemd / "usr/lib/systemd/logind.conf.d/50-kill.conf", "[Login]\n KillUserProcesses = yes\n")
    assert login.logout(systemd)[0].level == "bad"
    write(systemd / "etc/systemd/logind.conf.d/50-kill.conf", "")  # which masks the one of that name
    assert login.logout(systemd)[0].level == "ok"
    write(systemd / "run/systemd/logind.conf.d/60.conf", "KillUserProcesses=yes")
    write(systemd / "etc/systemd/logind.conf.d/70.conf", "KillUserProcesses=no")
    assert login.logout(systemd)[0].level == "ok"


@pytest.mark.parametrize(("lingers", "level"), [("yes", "ok"), ("no", "bad")])
def test_tmux_under_the_users_own_systemd(
    systemd: Path, bin_dir: Path, monkeypatch: pytest.MonkeyPatch, lingers: str, level: str
) -> None:
    script = (
        'case $1 in show-session) printf "KillUserProcesses=yes\\nKillExcludeUsers=\\n" ;; *) echo Linger={} ;; esac'
    )
    command(bin_dir, "loginctl", script.format(lingers))
    monkeypatch.setattr(login, "_systemd_group", lambda pid: "/user.slice/user-1.slice/user@1.service/tmux.scope")
    kill, linger = login.logout(systemd)
    assert kill.level == level
    assert linger.text.startswith("lingering is " + ("on" if lingers == "yes" else "off"))


@pytest.fixture
def no_job(monkeypatch: pytest.MonkeyPatch, bin_dir: Path, tmp_path: Path) -> Path:
    """The root of a machine on which this process is in no batch job."""
    for variable in login.BATCH:
        monkeypatch.delenv(variable, raising=False)
    command(bin_dir, "tmux", "exit 1")
    write(tmp_path / f"root/proc/{os.getpid()}/cgroup", "0::/user.slice/user-1000.slice/session-4.scope\n")
    return tmp_path / "root"


def test_no_batch_job(no_job: Path) -> None:
    check = login.batch_job(no_job)
    assert (check.level, check.text) == ("ok", "none: nothing ends with one")


@pytest.mark.parametrize(("variable", "system"), sorted(login.BATCH.items()))
def test_a_batch_job_by_its_variable(no_job: Path, monkeypatch: pytest.MonkeyPatch, variable: str, system: str) -> None:
    monkeypatch.setenv(variable, "4711")
    check = login.batch_job(no_job)
    assert check.level == "warn"
    assert f"{system} job 4711" in check.text


def test_a_batch_job_by_its_control_group(no_job: Path, bin_dir: Path) -> None:
    command(bin_dir, "tmux", "echo 99")
    group = write(no_job / "proc/99/cgroup", "0::/system.slice/slurmstepd.scope/job_12/step_0\n")
    check = login.batch_job(no_job)
    assert check.level == "warn"
    assert "your tmux server" in check.text
    group.write_text("0::/user.slice\n")
    write(no_job / f"proc/{os.getpid()}/cgroup", "4:memory:/slurm/uid_0/job_7\n0::/\n")
    assert "this shell" in login.batch_job(no_job).text


def test_a_container(no_job: Path) -> None:
    write(no_job / ".dockerenv", "")
    assert "container" in login.batch_job(no_job).text


def test_the_connection(tmp_path: Path) -> None:
    ssh = {"SSH_CONNECTION": "10.0.0.1 5 10.0.0.2 22"}
    assert login.connection({}, tmp_path).level == "ok"
    unseen = login.connection(ssh, tmp_path)
    assert unseen.level == "warn"
    assert "cannot be seen" in unseen.text
    assert "ServerAliveInterval 60" in unseen.remedy
    config = write(tmp_path / "etc/ssh/sshd_config", "#ClientAliveInterval 60\nClientAliveInterval 0\n")
    assert "does not keep" in login.connection(ssh, tmp_path).text
    config.write_text("clientaliveinterval 30\n")
    assert login.connection(ssh, tmp_path).level == "ok"
    write(tmp_path / "etc/ssh/sshd_config.d/10.conf", "ClientAliveInterval 0\n")
    assert login.connection(ssh, tmp_path).level == "warn"


def test_the_reboot(tmp_path: Path) -> None:
    from sweeper import boot

    env = {"HOME": str(tmp_path), "PATH": str(tmp_path)}
    assert "sweep resume --all" in login.reboot(env).text
    write(boot.unit_path(env).parent / "default.target.wants" / boot.UNIT, "")
    assert boot.UNIT in login.reboot(env).text


# -- the runs folder -----------------------------------------------------------------------------------------------


def test_a_runs_folder_that_works(tmp_path: Path) -> None:
    check = place.runs_folder(tmp_path / "a/b/runs")
    assert check.text.startswith(f"{tmp_path}/a/b/runs on ")
    assert "locks, renames, fsync" in check.text
    assert check.level in ("ok", "warn")  # /tmp may be memory
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way(tmp_path: Path) -> None:
    write(tmp_path / "runs", "")
    check = place.runs_folder(tmp_path / "runs")
    assert check.level == "bad"
    assert "SWEEP_RUNS_DIR" in check.remedy


def test_a_folder_that_cannot_be_written() -> None:
    check = place.runs_folder(Path("/proc/runs"))
    assert check.level == "bad"
    assert "on proc cannot be written" in check.text


def test_locks_that_lock_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "TAKE", "")  # as on a file system whose flock says yes to everybody
    check = place.runs_folder(tmp_path)
    assert check.level == "bad"
    assert "locks: two processes get the same lock" in check.text


def test_locks_that_an_heir_does_not_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(
        (3, 0)
    )  # as where a lock is its process's and goes with it: held first, free when that one closes it
    real = place.other
    monkeypatch.setattr(place, "other", lambda code, file: next(answers) if code == place.TAKE else real(code, file))
    assert "locks: a lock is free while a process that inherited it lives" in place.runs_folder(tmp_path).text


def test_a_sqlite_without_write_ahead_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = place.sqlite3.connect
    monkeypatch.setattr(place.sqlite3, "connect", lambda file, **options: real(":memory:", **options))
    check = place.runs_folder(tmp_path)
    assert check.level == "bad"
    assert "SQLite: no write-ahead log (memory instead)" in check.text


def test_a_file_system_that_forgets_permissions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = paths.replace
    monkeypatch.setattr(
        place.paths, "replace", lambda path, text, *, mode=0o644, sync=False: real(path, text, mode=0o644, sync=sync)
    )
    check = place.runs_folder(tmp_path)
    assert "open to others (0644)" in check.text


@pytest.mark.parametrize(
    ("mount", "word"),
    [(place.Mount("/home", "nfs4", "server:/home"), "network"), (place.Mount("/mnt", "tmpfs", "tmpfs"), "memory")],
)
def test_file_systems_to_be_wary_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mount: place.Mount, word: str
) -> None:
    monkeypatch.setattr(place, "mount_of", lambda path: mount)
    check = place.runs_folder(tmp_path)
    assert check.level == "warn"
    assert word in check.text


def test_which_mount_a_path_is_on(tmp_path: Path) -> None:
    table = write(
        tmp_path / "mountinfo",
        "1 0 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n"
        "2 1 0:30 / /home rw,relatime - nfs4 server:/home rw\n"
        "3 1 0:31 / /home/my\\040disk rw - xfs /dev/sdb rw\n"
        "4 1 0:32 / /mnt rw master:3 - ext4 /dev/sdc rw\n"
        "5 1 0:33 / /mnt rw - fuse.sshfs me@host:/a\\040b rw\n"
        "half a line\n",
    )
    kinds = {
        "/homes/x": "ext4",
        "/home/alice": "nfs4",
        "/home/my disk/runs": "xfs",
        "/home/my diskette": "nfs4",
        "/mnt/x": "fuse.sshfs",
    }
    for path, kind in kinds.items():
        assert place.mount_of(Path(path), table).kind == kind
    assert place.mount_of(Path("/mnt"), table) == place.Mount("/mnt", "fuse.sshfs", "me@host:/a b")
    assert place.mount_of(Path("/mnt"), table).network
    assert place.mount_of(Path("/")).kind != ""


# -- room ----------------------------------------------------------------------------------------------------------


def statvfs(monkeypatch: pytest.MonkeyPatch, *, free: int = 10**12, files: int = 10**6, total: int = 10**7) -> None:
    real = os.statvfs("/")
    numbers = list(real)[:10]
    numbers[0] = numbers[1] = 1
    numbers[2], numbers[4], numbers[5], numbers[7] = 2 * 10**12, free, total, files
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result((*numbers, 0)))


@pytest.mark.parametrize(("free", "level"), [(10**11, "ok"), (10**9, "warn"), (10**8, "bad")])
def test_disk_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, level: str) -> None:
    statvfs(monkeypatch, free=free)
    assert room.disk_space(tmp_path).level == level


@pytest.mark.parametrize(("free", "level"), [(900_000_000_000, "ok"), (50_000_000_000, "warn"), (6_000_000_000, "bad")])
def test_disk_space_against_logs_that_grow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, level: str
) -> None:
    run = paths.SweepDir(tmp_path / "digits").run("0001-lr=1")
    run.path.mkdir(parents=True)
    now = time.time()
    attempt = {
        "number": 2, "pid": 1, "start_ticks": 1, "host": "h", "boot_id": "b", "gpus": [], "log_offset": 500_000_000,
        "started": now - 100,
    }  # fmt: skip
    run.attempt(2).write_text(json.dumps(attempt))
    with open(run.log, "wb") as file:
        file.truncate(700_000_000)  # 200 MB in 100 s
    os.utime(run.log, (now, now))
    statvfs(monkeypatch, free=free)
    check = room.disk_space(tmp_path)
    assert check.level == level
    assert "1 logs grow by 7.2 GB an hour" in check.text
    os.utime(run.log, (now - 3600, now - 3600))
    assert "grow" not in room.disk_space(tmp_path).text


@pytest.mark.parametrize(("files", "level"), [(10**6, "ok"), (20_000, "warn"), (500, "bad")])
def test_files_that_can_still_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int, level: str) -> None:
    statvfs(monkeypatch, files=files)
    assert [check.level for check in room.inodes(tmp_path)] == [level]


def test_a_file_system_that_counts_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    statvfs(monkeypatch, files=0, total=0)
    assert room.inodes(tmp_path) == []


def test_a_full_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    statvfs(monkeypatch, free=10**7)
    assert room.temporary().level == "warn"


# -- GPU locks -----------------------------------------------------------------------------------------------------


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A lock folder of the test's own, where other users can reach it."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        os.chmod(folder, 0o755)
        path = Path(folder, "locks")
        path.mkdir()
        path.chmod(0o1777)
        monkeypatch.setattr(lease_folder, "choose", lambda: path)
        yield path


def test_a_lock_folder_for_everybody(shared: Path) -> None:
    check = locks.gpu_locks()
    assert check.level == "ok"
    assert lease_folder.admin_command() in check.remedy
    assert list(shared.iterdir()) == []


def test_the_administrators_lock_folder(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_folder, "ADMINISTRATORS", shared)
    check = locks.gpu_locks()
    assert (check.level, check.remedy) == ("ok", "")


@pytest.mark.parametrize("mode", [0o755, 0o1775, 0o700])
def test_a_lock_folder_that_shuts_others_out(shared: Path, mode: int) -> None:
    shared.chmod(mode)
    check = locks.gpu_locks()
    assert check.level == "bad"
    assert check.remedy == lease_folder.admin_command()
    assert list(shared.iterdir()) == []


@root_only
def test_a_second_user_really_locks(shared: Path) -> None:
    """What nobody is asked to do fails where our file is hidden from him."""
    ours = write(shared / "ours", "")
    ours.chmod(0o600)
    assert "a second user cannot use it" in locks._try_second_user(ours, shared / "theirs")
    ours.chmod(0o644)
    assert locks._try_second_user(ours, shared / "theirs") == ""
    assert not (shared / "theirs").exists()


def test_no_lock_folder_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Path:
        raise SweepError("there is no folder for GPU locks\n    Let the administrator make one")

    monkeypatch.setattr(lease_folder, "choose", none)
    check = locks.gpu_locks()
    assert (check.level, check.text) == ("bad", "there is no folder for GPU locks")


# -- GPUs ----------------------------------------------------------------------------------------------------------


def test_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "machine", lambda: devices.Machine((), "NVML Shared Library Not Found"))
    (check,) = machine.gpus({}, tmp_path)
    assert check.level == "ok"
    write(tmp_path / "dev/nvidiactl", "")
    (check,) = machine.gpus({}, tmp_path)
    assert check.level == "bad"
    assert "NVML Shared Library Not Found" in check.text


def test_gpus_and_who_is_on_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = ["sh", "-c", "read line", "\x1b[31mlr=0.1\n"]  # short: of a command the first 80 letters are shown
    with subprocess.Popen(hostile, stdin=subprocess.PIPE) as process:
        on_it = (devices.GpuProcess(process.pid, 11_200_000_000),)
        gpus = (
            devices.Gpu(0, "GPU-a", "A100", "nvidia", 80 * 10**9, 11_500_000_000, processes=on_it),
            devices.Gpu(1, "GPU-b", "A100", "nvidia", 80 * 10**9, 3_000_000),
        )
        monkeypatch.setattr(devices, "machine", lambda: devices.Machine(gpus, "GPU 2: Unknown Error"))
        write(tmp_path / "proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX  Kernel Module  550.54.15  Tue\n")
        found = machine.gpus({"CUDA_VISIBLE_DEVICES": "0,1"}, tmp_path)
    assert [(check.name, check.level) for check in found] == [
        ("GPUs", "ok"),
        ("GPUs", "warn"),
        ("GPUs", "warn"),
        ("GPU 0", "ok"),
        ("GPU 1", "ok"),
    ]
    assert found[0].text == "2, driver 550.54.15"
    assert "Unknown Error" in found[1].text
    assert "CUDA_VISIBLE_DEVICES=0,1" in found[2].text
    assert f"process {process.pid}" in found[3].text
    assert "lr=0.1" in found[3].text
    assert found[3].text.isprintable()
    assert found[4].text == "A100: 3.0 MB of 80.0 GB in use; nobody on it"


# -- terminal, Python, limits --------------------------------------------------------------------------------------


def test_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.terminal({"TERM": "xterm"})[0].level == "ok"
    for name in ("", "dumb", "no-such-terminal"):
        check = machine.terminal({"TERM": name})[0]
        assert check.level == "warn"
        assert "xterm-256color" in check.remedy


def test_locales(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    assert machine.terminal({"TERM": "xterm"})[1].level == "ok"
    monkeypatch.setenv("LC_ALL", "POSIX")
    check = machine.terminal({"TERM": "xterm"})[1]
    assert check.level == "warn"
    assert "LANG=C.UTF-8" in check.remedy


def test_python() -> None:
    check = machine.python()
    assert check.level == "ok"
    assert sys.executable in check.text


def test_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.resource, "getrlimit", lambda which: (256, 4096))
    check = machine.open_files()
    assert check.level == "warn"
    assert "256 a process (at most 4,096)" in check.text
    monkeypatch.setattr(machine.resource, "getrlimit", lambda which: (65536, machine.resource.RLIM_INFINITY))
    assert machine.open_files().level == "ok"


def test_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    infinite = machine.resource.RLIM_INFINITY
    monkeypatch.setattr(machine.resource, "getrlimit", lambda which: (infinite, infinite))
    assert machine.processes(tmp_path).text == "as many as the machine bears"
    write(tmp_path / "proc/self/cgroup", "0::/user.slice/user-1.slice\n")
    group = tmp_path / "sys/fs/cgroup/user.slice"
    write(group / "user-1.slice/pids.max", "max\n")
    write(group / "user-1.slice/pids.current", "40\n")
    assert machine.processes(tmp_path).text == "as many as the machine bears"
    write(group / "pids.max", "150\n")
    write(group / "pids.current", "50\n")
    check = machine.processes(tmp_path)
    assert (check.level, check.text) == ("warn", "100 more may be started")
    monkeypatch.setattr(machine.resource, "getrlimit", lambda which: (10**9, 10**9))
    assert machine.processes(tmp_path).level == "warn"
    assert machine.processes(tmp_path / "elsewhere").level == "ok"


def test_inotify_works() -> None:
    assert machine.inotify().level == "ok"


def test_inotify_used_up() -> None:
    """In a process whose limit of open files stands in for the kernel's limit of instances: the same error."""
    code = (
        "import os, resource; from sweeper.doctor import machine\n"
        "import ctypes; top = os.dup(0); os.close(top)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (top, top)); check = machine.inotify()\n"
        "print(check.level, check.text)"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(doctor.__file__).parent.parent.parent)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("warn all of your instances are in use")
