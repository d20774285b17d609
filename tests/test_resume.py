"""After a reboot: what was running goes on, what was not stays as it is, and nothing hinders the rest."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sweeper import control, folders, index, launch, model, paths, procs
from sweeper.procs import signal_all
from sweeper.store import open_store
from tests.conftest import ROOT, Workshop, end_all, over, processes_of, say, wait_for
from tests.test_boot import as_cron_runs, words_of

UNTIL_GO = "while [ ! -e go ]; do sleep 0.02; done"
WAITS = f"command: 'echo {{x}} $SWEEP_ATTEMPT >> tally-%s; {UNTIL_GO}'\ngrid: {{x: [1, 2, 3]}}\n"


class House(Workshop):
    """Several sweeps in one folder, each by its name."""

    def sweep_of(self, name: str) -> paths.SweepDir:
        return paths.SweepDir(self.folder / "runs" / name)

    def begin(self, name: str, text: str = "", parallel: int | None = 1) -> paths.SweepDir:
        """Launch a sweep of that name; without a text one whose runs wait for the file ``go``."""
        file = self.folder / f"{name}.yaml"
        file.write_text((text or WAITS % name) + "gpus: 0\n")
        options = launch.Options(parallel=parallel, serial=parallel is None)
        launch.carry_out(launch.plan(str(file), options))
        if not text:
            wait_for(lambda: self.lines(f"tally-{name}"), what=name)
            wait_for(lambda: self.states(name)[model.RUNNING] == (parallel or 1))
        return self.sweep_of(name)

    def states(self, name: str) -> dict[str, int]:
        store = open_store(self.sweep_of(name))
        try:
            return {**dict.fromkeys(model.STATES, 0), **store.counts()}
        finally:
            store.close()

    def status_of(self, name: str) -> str:
        sweep = self.sweep_of(name)
        store = open_store(sweep)
        try:
            return control.status(sweep, store).state
        finally:
            store.close()

    def reboot(self) -> None:
        """Everything at once, by KILL: the tmux server, schedulers, supervisors and commands."""
        server = int(self.tmux("display-message", "-p", "#{pid}").strip() or 0)
        found = {*processes_of(self.folder), *([server] if server else [])}
        while found:
            # Nobody may see another go: tmux would wake the stopped, so it is stopped first; and orphans are woken by
            # the kernel, so it is killed last.
            signal_all(sorted(found, key=lambda pid: pid != server), signal.SIGSTOP)
            end_all(sorted(found, key=lambda pid: pid == server))
            found = set(processes_of(self.folder))

    def say(self, *typed: str, check: int | None = 0) -> str:
        """The command line, and what it says."""
        return say(*typed, check=check, cwd=self.folder).text

    def go(self) -> None:
        (self.folder / "go").touch()


@pytest.fixture
def house(private: Path) -> House:
    return House(private)


def test_exactly_what_was_running_goes_on(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.begin("finished", "command: 'true'\ngrid: {x: [1, 2]}\n")
    wait_for(lambda: not launch.alive(house.sweep_of("finished")))
    for name in ("stopped", "paused", "wide", "chain"):
        house.begin(name, parallel={"wide": 2, "chain": None}.get(name, 1))
    control.stop(house.sweep_of("stopped"))
    wait_for(lambda: not launch.alive(house.sweep_of("stopped")))
    control.pause(house.sweep_of("paused"))
    wait_for(lambda: len(house.lines("tally-wide")) == 2)
    house.reboot()
    assert house.status_of("wide") == house.status_of("chain") == "interrupted"
    assert house.status_of("paused") == "paused"
    assert "sweep resume paused goes on with the 3 that are left" in house.say("status", "paused")

    said = house.say("resume", "--all")
    assert sorted(re.findall(r"wide|chain|stopped|paused|finished", said.split("resumed: ")[1])) == ["chain", "wide"]
    alone = next(line for line in said.splitlines() if line.startswith("left alone: "))
    assert "paused (paused)" in alone
    assert "stopped (stopped: sweep stop)" in alone
    assert not any(name in alone for name in ("wide", "chain", "finished"))
    for name, at_once in (("wide", 2), ("chain", 1)):
        wait_for(lambda name=name, at_once=at_once: len(house.lines(f"tally-{name}")) == 2 * at_once, what=name)
    house.go()
    for name in ("wide", "chain"):
        wait_for(lambda name=name: not launch.alive(house.sweep_of(name)))
        assert house.states(name)[model.DONE] == 3
    assert sorted(house.lines("tally-wide")) == ["1 1", "1 2", "2 1", "2 2", "3 1"]
    assert sorted(house.lines("tally-chain")) == ["1 1", "1 2", "2 1", "3 1"]
    assert not launch.alive(house.sweep_of("paused"))
    assert len(house.lines("tally-stopped")) == len(house.lines("tally-paused")) == 1
    assert house.states("stopped")[model.DONE] == house.states("paused")[model.DONE] == 0
    assert "no sweep was interrupted" in house.say("resume", "--all")


@pytest.mark.parametrize("way", ["cron", "systemd"])
def test_what_at_boot_wrote_goes_on_with_real_sweeps(house: House, way: str) -> None:
    """Typed in a copy of which nothing is installed, so that only what was written can tell where it is."""
    tools, clone, table = house.folder / "tools", house.folder / "clone", house.folder / "table"
    tools.mkdir()
    shutil.copytree(ROOT / "sweeper", clone / "sweeper", ignore=shutil.ignore_patterns("__pycache__"))
    crontab = f'#!/bin/sh\n[ "$1" = - ] && exec cat >{table}; exec cat {table} 2>/dev/null\n'
    for name, script in (("crontab", crontab), ("systemctl", f"#!/bin/sh\nexit {int(way == 'cron')}\n")):
        (tools / name).write_text(script)
        (tools / name).chmod(0o755)
    house.begin("s")
    variables = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    variables.pop("PYTHONPATH", None)
    typed = [sys.executable, "-m", "sweeper", "resume", "--at-boot", "--yes"]
    subprocess.run(typed, cwd=clone, env=variables, check=True, capture_output=True)
    house.reboot()
    home = os.environ["HOME"]
    if way == "cron":
        as_cron_runs(table.read_text().strip(), house.folder, HOME=home)
    else:
        unit = (Path(home) / ".config/systemd/user/sweep-resume.service").read_text()
        subprocess.run(words_of(unit), cwd="/", env={"HOME": home}, check=True, capture_output=True)
    wait_for(lambda: house.lines("tally-s") == ["1 1", "1 2"])
    house.go()
    wait_for(lambda: not launch.alive(house.sweep_of("s")))
    assert house.states("s")[model.DONE] == 3


@pytest.mark.parametrize("order", [(signal.SIGTERM, signal.SIGHUP), (signal.SIGHUP, signal.SIGTERM)])
def test_an_orderly_shutdown_is_no_stop(house: House, order: tuple[signal.Signals, signal.Signals]) -> None:
    """It ends the scheduler by TERM, and by HUP as its tmux server goes, in either order."""
    sweep = house.begin("s")
    scheduler = house.scheduler()
    os.kill(scheduler, signal.SIGSTOP)
    for number in order:
        os.kill(scheduler, number)
    os.kill(scheduler, signal.SIGCONT)
    wait_for(lambda: not launch.alive(sweep))
    house.reboot()
    assert "resumed: s" in house.say("resume", "--all")
    house.go()
    wait_for(lambda: not launch.alive(sweep))
    assert house.states("s")[model.DONE] == 3


@pytest.mark.parametrize("parallel", [2, None])
def test_a_shutdown_that_reaches_the_tmux_server_first_is_no_stop(house: House, parallel: int | None) -> None:
    """Everybody else hears of it when the sweep has stopped already, as if its session had been closed."""
    sweep = house.begin("s", parallel=parallel)
    scheduler = house.scheduler()
    os.kill(int(house.tmux("display-message", "-p", "#{pid}")), signal.SIGTERM)
    wait_for(lambda: not launch.alive(sweep))
    assert house.status_of("s") == "stopped"
    os.kill(scheduler, signal.SIGTERM)
    wait_for(lambda: over(scheduler))
    assert house.status_of("s") == "interrupted"
    house.reboot()
    assert "resumed: s" in house.say("resume", "--all")
    house.go()
    wait_for(lambda: not launch.alive(sweep))
    assert house.states("s")[model.DONE] == 3
    assert not any(line.endswith("3") for line in house.lines("tally-s")), "no run was tried more than twice"


def test_a_closed_session_that_no_shutdown_follows_is_a_stop(house: House) -> None:
    house.begin("s")
    scheduler = house.scheduler()
    house.tmux("kill-session", "-t", "sweep-s")
    wait_for(lambda: over(scheduler))
    assert house.status_of("s") == "stopped"
    assert "s (stopped: its tmux session was closed)" in house.say("resume", "--all")


def test_who_waits_for_a_shutdown_is_in_nobodys_way(house: House) -> None:
    """The sweep goes on before it is known that there is none, and ends before one comes."""
    sweep = house.begin("s")
    scheduler = house.scheduler()
    house.tmux("kill-session", "-t", "sweep-s")
    wait_for(lambda: not launch.alive(sweep))
    house.go()
    assert "s goes on" in house.say("resume", "s")
    wait_for(lambda: not launch.alive(sweep))
    with contextlib.suppress(ProcessLookupError):
        os.kill(scheduler, signal.SIGTERM)
    wait_for(lambda: over(scheduler))
    assert house.status_of("s") == "finished"
    assert house.states("s")[model.DONE] == 3


def test_the_last_run_of_a_night_that_a_shutdown_ended_is_resumed(house: House) -> None:
    sweep = house.begin("s", f"command: 'echo $SWEEP_ATTEMPT >> {house.folder}/tally; test -e {house.folder}/go'\n")
    wait_for(lambda: not launch.alive(sweep))
    assert "no sweep was interrupted" in house.say("resume", "--all")
    with contextlib.closing(open_store(sweep)) as store:
        store.set_state(1, model.STOPPED, "its supervisor was ended by SIGTERM")
    house.go()
    assert "resumed: s" in house.say("resume", "--all")
    wait_for(lambda: not launch.alive(sweep))
    assert house.states("s")[model.DONE] == 1


def test_of_another_boot_no_process_is_taken_for_a_runs(house: House) -> None:
    """Pids begin anew at boot: whoever has the pid of a lost supervisor now is left alone."""
    sweep = house.begin("s")
    house.reboot()
    bystander = subprocess.Popen(["sleep", "1000"])
    try:
        (_, run), *_ = folders.run_folders(sweep)
        attempt = folders.history(run).attempt
        assert attempt is not None
        text = run.attempt(1).read_text()
        for old, new in (
            (f'"pid": {attempt.pid}', f'"pid": {bystander.pid}'),
            (attempt.boot_id, "00000000-0000-4000-8000-000000000000"),
        ):
            assert old in text
            text = text.replace(old, new)
        ticks = procs.start_ticks(bystander.pid)
        run.attempt(1).write_text(text.replace(f'"start_ticks": {attempt.start_ticks}', f'"start_ticks": {ticks}'))
        house.say("resume", "--all")
        house.go()
        wait_for(lambda: not launch.alive(sweep))
        assert house.states("s")[model.DONE] == 3
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def no_queue(sweep: paths.SweepDir) -> None:
    sweep.db.write_bytes(b"this is no database" * 500)
    (sweep.path / "sweep.yaml").write_text("command: [")


def other_host(sweep: paths.SweepDir) -> None:
    sweep.owner.write_text('{"host": "another-host", "file": "/nowhere.yaml"}')


def no_source(sweep: paths.SweepDir) -> None:
    store = open_store(sweep)
    with store:
        store.set_flag("source", "command: [")
    store.close()


def no_folder(sweep: paths.SweepDir) -> None:
    sweep.lock.unlink()
    sweep.lock.mkdir()


@pytest.mark.parametrize("damage", [no_queue, other_host, no_source, no_folder])
def test_a_broken_sweep_does_not_hinder_the_others(house: House, damage: Any) -> None:
    for name in ("older", "broken", "newer"):
        house.begin(name)
    house.reboot()
    damage(house.sweep_of("broken"))
    said = house.say("resume", "--all", check=1)
    resumed = next(line for line in said.splitlines() if line.startswith("resumed: "))
    assert "1 could not be" in resumed
    assert "sweep: broken: " in said
    for name in ("older", "newer"):
        assert name in resumed
        wait_for(lambda name=name: len(house.lines(f"tally-{name}")) == 2, what=said)
    assert "broken" not in resumed
    house.go()
    for name in ("older", "newer"):
        wait_for(lambda name=name: not launch.alive(house.sweep_of(name)))
        assert house.states(name)[model.DONE] == 3


def test_a_sweep_whose_folder_is_gone_is_forgotten(house: House) -> None:
    sweep = house.begin("gone")
    house.reboot()
    sweep.path.rename(house.folder / "elsewhere")
    assert "no sweep was interrupted" in house.say("resume", "--all")
    assert all(entry.path != sweep.path for entry in index.entries())


def test_what_is_still_alive_is_adopted_and_not_started_twice(house: House) -> None:
    sweep = house.begin("s")
    os.kill(house.scheduler(), signal.SIGKILL) if house.scheduler() else pytest.fail("no scheduler")
    wait_for(lambda: not launch.alive(sweep))
    house.say("resume", "--all")
    house.go()
    wait_for(lambda: not launch.alive(sweep) and house.states("s")[model.DONE] == 3)
    assert sorted(house.lines("tally-s")) == ["1 1", "2 1", "3 1"]


# -- at boot -------------------------------------------------------------------------------------------------------


def stand_in(house: House, monkeypatch: pytest.MonkeyPatch, name: str, script: str) -> None:
    folder = house.folder / "bin"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/bash\n{script}\n")
    (folder / name).chmod(0o755)
    path = os.environ["PATH"].split(":")
    monkeypatch.setenv("PATH", ":".join(dict.fromkeys([str(folder), *path])))


def test_at_boot_by_cron_really_resumes(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    table = house.folder / "table"
    table.write_text("@daily mine\n")
    stand_in(house, monkeypatch, "systemctl", "exit 1")
    stand_in(house, monkeypatch, "crontab", f'if [ "$1" = - ]; then cat > {table}; else cat {table}; fi')
    sweep = house.begin("s")

    said = house.say("resume", "--at-boot", "--yes")
    line = table.read_text().splitlines()[1]
    assert line.startswith("@reboot ")
    assert line in said
    assert "it stood there already" in house.say("resume", "--at-boot", "--yes")

    house.reboot()
    command = line.removeprefix("@reboot ").replace("\\%", "%")
    bare = {"HOME": os.environ["HOME"], "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    subprocess.run(["/bin/sh", "-c", command], env=bare, cwd="/", check=True, timeout=60)
    wait_for(lambda: len(house.lines("tally-s")) == 2)
    house.go()
    wait_for(lambda: not launch.alive(sweep))
    assert house.states("s")[model.DONE] == 3

    assert "removed: the @reboot line" in house.say("resume", "--never")
    assert table.read_text() == "@daily mine\n"
    assert "nothing was installed" in house.say("resume", "--never")


def test_at_boot_by_systemd(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    units = house.folder / "home" / ".config" / "systemd" / "user"
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    stand_in(
        house, monkeypatch, "systemctl",
        f'case $2 in enable) mkdir -p {units}/default.target.wants; '
        f'ln -sf {units}/$3 {units}/default.target.wants/ ;; disable) rm -f {units}/default.target.wants/$3 ;; esac',
    )  # fmt: skip
    stand_in(house, monkeypatch, "loginctl", "echo Linger=no")
    stand_in(house, monkeypatch, "crontab", "echo 'no crontab for tester' >&2; exit 1")
    said = house.say("resume", "--at-boot", "--yes")
    unit = units / "sweep-resume.service"
    for line in unit.read_text().splitlines():
        assert line in said
    assert "loginctl enable-linger" in said
    assert (units / "default.target.wants" / unit.name).is_symlink()
    assert str(unit) in house.say("resume", "--never")
    assert not unit.exists()
    assert not (units / "default.target.wants" / unit.name).is_symlink()


def test_without_yes_nothing_is_written_where_nobody_can_answer(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    table = house.folder / "table"
    stand_in(house, monkeypatch, "systemctl", "exit 1")
    stand_in(house, monkeypatch, "crontab", f'if [ "$1" = - ]; then cat > {table}; else exit 1; fi')
    assert "@reboot" in house.say("resume", "--at-boot", check=2)
    assert not table.exists()
