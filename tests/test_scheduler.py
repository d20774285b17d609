"""A sweep from its launch to its end with a real scheduler: order, limits, live changes, stops, crashes and repairs."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sweeper import control, folders, launch, model, paths, procs
from sweeper.errors import InputError
from sweeper.store import Store
from tests.conftest import Workshop, end_all, processes_of, wait_for

COUNTED = """
command: >-
  echo start {x} $SWEEP_ATTEMPT >> tally; %s; echo end {x} $SWEEP_ATTEMPT >> tally
grid: {x: %s}
"""


def counted(work: str, grid: str = "[1, 2, 3, 4]") -> str:
    """A sweep file whose runs write down when they start and end."""
    return COUNTED % (work, grid)


PYTHON = shlex.quote(sys.executable)
UNTIL_GO = "while [ ! -e go ]; do sleep 0.02; done"


def most_at_once(lines: list[str]) -> int:
    now = most = 0
    for line in lines:
        now += 1 if line.startswith("start") else -1
        most = max(most, now)
    return most


def kill(pid: int) -> None:
    assert pid > 1
    descriptor = os.pidfd_open(pid)
    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    import select

    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    poller.poll(10_000)
    os.close(descriptor)


def supervisor(shop: Workshop, number: int) -> int:
    attempt = shop.attempt(number)
    assert attempt is not None
    assert procs.alive(attempt.pid, attempt.start_ticks)
    return attempt.pid


# -- order and number --------------------------------------------------------------------------------------------------


def test_a_chain_runs_in_file_order_one_at_a_time(shop: Workshop) -> None:
    assert shop.run(counted("sleep 0.01", "{range: [0, 12]}")) == {"done": 12}
    starts = [line.split()[1] for line in shop.lines() if line.startswith("start")]
    assert starts == [str(x) for x in range(12)]
    assert most_at_once(shop.lines()) == 1


def test_never_more_than_n_at_once(shop: Workshop) -> None:
    shop.launch(counted(UNTIL_GO, "{range: [0, 12]}"), 3)
    wait_for(lambda: most_at_once(shop.lines()) == 3)
    (shop.folder / "go").touch()
    assert shop.finish() == {"done": 12}
    assert most_at_once(shop.lines()) == 3
    assert len([line for line in shop.lines() if line.startswith("end")]) == 12


def test_very_short_runs_are_all_run(shop: Workshop) -> None:
    for parallel in (None, 2):
        assert shop.run("command: ':'\ngrid: {x: {range: [0, 30]}}\n", parallel, fresh=True) == {"done": 30}


def test_another_n_is_taken_at_once(shop: Workshop) -> None:
    shop.launch(counted(UNTIL_GO, "{range: [0, 6]}"), 1)
    wait_for(lambda: most_at_once(shop.lines()) == 1)
    assert shop.launch(parallel=4).woken
    wait_for(lambda: most_at_once(shop.lines()) == 4)
    shop.launch(parallel=2)
    (shop.folder / "go").touch()
    assert shop.finish() == {"done": 6}
    assert most_at_once(shop.lines()) == 4


def test_the_file_is_taken_live(shop: Workshop) -> None:
    shop.launch(counted(UNTIL_GO, "[1, 2, 3, 4]"), 1)
    wait_for(lambda: shop.lines() == ["start 1 1"])
    change = shop.launch(counted(UNTIL_GO, "[1, 4, 7, 8]"), 1).change
    assert (change.total, change.new, change.gone) == (4, 2, 2)
    (shop.folder / "go").touch()
    assert shop.finish() == {"done": 4}
    assert [line.split()[1] for line in shop.lines() if line.startswith("start")] == ["1", "4", "7", "8"]
    numbers = {record.params["x"]: record.number for record in shop.ask(lambda store: store.records([model.DONE]))}
    assert numbers == {1: 1, 4: 4, 7: 5, 8: 6}


def test_other_settings_are_taken_live_also_by_runs_that_stand_ready(shop: Workshop) -> None:
    text = counted(UNTIL_GO + "; echo word $WORD >> tally")
    shop.launch(text + "env: {WORD: old}\n", 1)
    wait_for(lambda: "standby" in shop.tmux("list-windows", "-a") and shop.run_dir(2))
    shop.launch(text + "env: {WORD: new}\n", 1)
    (shop.folder / "go").touch()
    assert shop.finish() == {"done": 4}
    assert [line for line in shop.lines() if line.startswith("word")] == ["word old"] + ["word new"] * 3


def test_an_edited_command_is_refused_while_it_runs_and_later_until_fresh(shop: Workshop) -> None:
    shop.run(counted("true", "[1, 2]"))
    edited = counted("true", "[1, 2]").replace("; true;", "; :;")
    with pytest.raises(InputError, match=r"2 finished runs .*\n.*--fresh"):
        shop.launch(edited)
    assert shop.counts() == {"done": 2}
    assert shop.run(edited, fresh=True) == {"done": 2}
    aside = paths.SweepDir(shop.sweep.path.with_name("s.old-1"))
    assert len([*folders.run_folders(aside)]) == 2


def test_finished_runs_are_kept_and_failed_ones_run_again(shop: Workshop) -> None:
    work = "[ -e good ] || [ {x} = 1 ]"
    text = f"command: 'echo {{x}} >> tally; {work}'\ngrid: {{x: [1, 2, 3]}}\n"
    assert shop.run(text, 2) == {"done": 1, "failed": 2}
    (shop.folder / "good").touch()
    assert shop.run(parallel=2) == {"done": 3}
    assert sorted(shop.lines()) == ["1", "2", "2", "3", "3"]
    assert shop.run(parallel=2) == {"done": 3}
    assert len(shop.lines()) == 5


def test_retries_are_made_and_counted(shop: Workshop) -> None:
    text = "command: 'echo $SWEEP_ATTEMPT >> tally; : {x}; [ $SWEEP_ATTEMPT = 3 ]'\ngrid: {x: [1]}\nretries: 2\n"
    assert shop.run(text) == {"done": 1}
    assert shop.lines() == ["1", "2", "3"]
    assert shop.run(text.replace("3 ]", "9 ]").replace("{x: [1]}", "{x: [2]}"), fresh=True) == {"failed": 1}
    assert shop.lines()[3:] == ["1", "2", "3"]


def test_a_canary_stops_the_sweep_with_its_reason(shop: Workshop) -> None:
    assert shop.run("command: 'echo no such data; exit 1'\ngrid: {x: {range: [0, 9]}}\ncanary: 2\n", 4) == {
        "failed": 2,
        "queued": 7,
    }
    assert "canary: all of the first 2 runs failed the same way" in shop.tell()


def test_too_many_failures_stop_the_sweep(shop: Workshop) -> None:
    found = shop.run("command: 'exit {x}'\ngrid: {x: {range: [0, 20]}}\nmax_failures: 3\n", 1)
    assert found["failed"] == 3
    assert "max_failures" in shop.ask(Store.wish).why


# -- who launches ------------------------------------------------------------------------------------------------------


def test_ten_launches_at_the_same_instant_are_one_scheduler(shop: Workshop) -> None:
    shop.file.write_text(counted(UNTIL_GO, "{range: [0, 4]}") + "gpus: 0\n")
    program = (
        "import sys\nfrom sweeper import launch\n"
        "plan = launch.plan(sys.argv[1], launch.Options(parallel=2))\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"  # until the gate is closed, of which they all have the other end
        "print(launch.carry_out(plan).woken)\n"
    )
    root = str(Path(__file__).parents[1])
    argv = [sys.executable, "-c", program, str(shop.file)]
    env = {**os.environ, "PYTHONPATH": root}
    waiting, gate = os.pipe()
    pipe = subprocess.PIPE
    ten = [subprocess.Popen(argv, env=env, stdin=waiting, stdout=pipe, stderr=subprocess.STDOUT) for _ in range(10)]
    os.close(waiting)
    assert [one.stdout.readline() for one in ten if one.stdout] == [b"ready\n"] * 10
    os.close(gate)
    said = [one.communicate(timeout=60)[0].decode() for one in ten]
    assert [one.returncode for one in ten] == [0] * 10, said
    assert sorted(said) == ["False\n"] + ["True\n"] * 9
    (shop.folder / "go").touch()
    assert shop.finish() == {"done": 4}
    assert len([line for line in shop.lines() if line.startswith("start")]) == 4
    assert shop.tell().count("begins") == 1


def test_a_folder_by_another_way_is_the_same_sweep(shop: Workshop) -> None:
    shop.launch(counted(UNTIL_GO, "[1, 2]"), 1)
    (shop.folder / "link").symlink_to(shop.folder / "runs")
    assert shop.launch(parallel=2, runs_dir=str(shop.folder / "link")).woken
    wait_for(lambda: most_at_once(shop.lines()) == 2)
    (shop.folder / "go").touch()
    assert shop.finish() == {"done": 2}


def test_the_launching_persons_environment_is_the_runs(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STALE", "of the server")
    shop.tmux("new-session", "-d", "-s", "mine")
    monkeypatch.delenv("STALE")
    monkeypatch.setenv("PERSON", "typed #(touch owned) it")
    monkeypatch.setenv("ODD", os.fsdecode(b"\xff\xfe"))
    shown = (
        'python3 -c \'import os; print([os.environ.get(n) for n in ("STALE", "PERSON")], ascii(os.environ["ODD"]))\''
    )
    assert shop.run(f"command: >-\n  {shown}\ngrid: {{x: [1]}}\n", 1) == {"done": 1}
    assert b"[None, 'typed #(touch owned) it'] '\\udcff\\udcfe'" in shop.log(1)
    assert stat.S_IMODE(shop.sweep.environment(1).stat().st_mode) == 0o600
    assert not (shop.folder / "owned").exists()


HOSTILE = [
    "a'; touch owned #",
    "$(touch owned)",
    "`touch owned`",
    "#(touch owned)",
    "-rf",
    "../../x",
    "a\nb",
    "ü€",
    "",
    "#{pid}",
    "x;",
    '"',
]


@pytest.mark.parametrize("parallel", [None, 2])
def test_values_arrive_as_they_are(shop: Workshop, parallel: int | None) -> None:
    program = "import json, os, sys; print(json.dumps([sys.argv[1], json.loads(os.environ['SWEEP_PARAMS'])['x']]))"
    (shop.folder / "show.py").write_text(program)
    text = f"command: {PYTHON} show.py {{x}}\ngrid: {{x: {json.dumps(HOSTILE)}}}\n"
    assert shop.run(text, parallel) == {"done": len(HOSTILE)}
    for number, value in enumerate(HOSTILE, 1):
        assert json.loads(shop.log(number)) == [value, value]
    assert not list(shop.folder.rglob("owned"))
    assert {entry.name for entry in shop.folder.iterdir()} <= {"home", "runs", "s.yaml", "show.py", "tally"}


# -- stop, pause, resume, retry ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("parallel", [None, 2])
def test_a_stopped_sweep_stays_stopped_until_it_is_resumed(shop: Workshop, parallel: int | None) -> None:
    shop.launch(counted(UNTIL_GO), parallel)
    wait_for(lambda: len(shop.lines()) == (parallel or 1))
    control.stop(shop.sweep)
    found = shop.finish()
    assert found == {"stopped": parallel or 1, "queued": 4 - (parallel or 1)}
    assert processes_of(shop.sweep.path) == [] or not shop.alive()
    (shop.folder / "go").touch()
    assert control.resume(shop.sweep)
    assert shop.finish() == {"done": 4}


def test_single_runs_are_stopped_running_ready_and_untouched(shop: Workshop) -> None:
    shop.launch(counted(UNTIL_GO, "{range: [1, 9]}"), 2)
    wait_for(lambda: len(shop.lines()) == 2)
    control.stop(shop.sweep, [1, 3, 8])
    wait_for(lambda: shop.state(1) == model.STOPPED)
    (shop.folder / "go").touch()
    assert shop.finish() == {"done": 5, "stopped": 3}
    assert {shop.state(number) for number in (1, 3, 8)} == {model.STOPPED}
    assert shop.run_dir(8) is None or shop.attempt(8) is None
    assert control.retry(shop.sweep, [8]) == [8]
    wait_for(lambda: shop.state(8) == model.DONE)


def test_a_paused_sweep_finishes_what_runs_and_starts_nothing(shop: Workshop) -> None:
    shop.launch(counted(UNTIL_GO), 1)
    wait_for(lambda: shop.lines() == ["start 1 1"])
    control.pause(shop.sweep)
    (shop.folder / "go").touch()
    wait_for(lambda: shop.state(1) == model.DONE)
    assert shop.alive()
    assert len(shop.lines()) == 2
    control.resume(shop.sweep)
    assert shop.finish() == {"done": 4}


def test_a_stop_while_it_starts_is_heeded(shop: Workshop) -> None:
    for parallel in (None, 2):
        shop.launch(counted("sleep 30"), parallel, fresh=True)
        control.stop(shop.sweep)
        found = shop.finish()
        assert not found.keys() - {"queued", "stopped"}


# -- crashes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parallel", [None, 2])
def test_a_killed_scheduler_loses_nothing_and_repeats_nothing(shop: Workshop, parallel: int | None) -> None:
    shop.launch(counted(UNTIL_GO, "{range: [1, 7]}"), parallel)
    running = parallel or 1
    wait_for(lambda: len(shop.lines()) == running)
    kill(shop.scheduler())
    wait_for(lambda: not shop.alive())
    shop.launch(parallel=parallel)
    wait_for(lambda: len(shop.ask(lambda store: store.records([model.RUNNING]))) == running)
    (shop.folder / "go").touch()
    assert shop.finish() == {"done": 6}
    assert len([line for line in shop.lines() if line.startswith("start")]) == 6
    assert most_at_once(shop.lines()) == running


@pytest.mark.parametrize("parallel", [None, 2])
def test_a_scheduler_that_is_told_to_end_leaves_its_runs_alone(shop: Workshop, parallel: int | None) -> None:
    shop.launch(counted(UNTIL_GO), parallel)
    wait_for(lambda: len(shop.lines()) == (parallel or 1))
    os.kill(shop.scheduler(), signal.SIGTERM)
    wait_for(lambda: not shop.alive())
    shop.launch(parallel=parallel)
    (shop.folder / "go").touch()
    assert shop.finish() == {"done": 4}
    assert len([line for line in shop.lines() if line.startswith("start")]) == 4


HERE = """
import sys
from sweeper import launch
from sweeper.scheduler.serve import serve, summary
plan = launch.plan(sys.argv[1], launch.Options(serial=True, here=True))
launch.carry_out(plan)
print(summary(serve(plan.sweep, table=False)))
"""


def here(shop: Workshop, text: str, *before: str) -> subprocess.Popen[bytes]:
    shop.file.write_text(f"{text}gpus: 0\n")
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    argv = [*before, sys.executable, "-c", HERE, str(shop.file)]
    return subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_a_chain_runs_here_without_a_terminal(shop: Workshop) -> None:
    said, _ = here(shop, "command: echo word {x}\ngrid: {x: [1, 2]}\n").communicate(timeout=60)
    text = said.decode()
    assert "word 1\r\n" in text
    assert "word 2\r\n" in text
    assert text.endswith("2 done\n")
    assert shop.counts() == {"done": 2}


def test_a_hangup_stops_a_chain_here_unless_nohup_says_otherwise(shop: Workshop) -> None:
    text = counted(UNTIL_GO, "[1, 2]")
    for before, found in ((["nohup"], {"done": 2}), ([], {"stopped": 1, "queued": 1})):
        process = here(shop, text, *before)
        wait_for(lambda: len(shop.lines()) % 4 == 1)
        process.send_signal(signal.SIGHUP)
        if before:
            (shop.folder / "go").touch()
        process.communicate(timeout=60)
        assert shop.counts() == found, shop.tell()
        (shop.folder / "go").unlink(missing_ok=True)
        text = counted(UNTIL_GO, "[3, 4]")


def test_what_ends_while_there_is_no_scheduler_is_not_repeated(shop: Workshop) -> None:
    shop.launch(counted(UNTIL_GO), 2)
    wait_for(lambda: len(shop.lines()) == 2)
    pids = [supervisor(shop, 1), supervisor(shop, 2)]
    kill(shop.scheduler())
    (shop.folder / "go").touch()
    wait_for(lambda: not any(procs.start_ticks(pid) for pid in pids))
    assert shop.run(parallel=2) == {"done": 4}
    assert len([line for line in shop.lines() if line.startswith("start")]) == 4


def test_a_run_that_failed_while_there_was_no_scheduler_is_tried_again_by_the_next_launch(shop: Workshop) -> None:
    shop.launch(f"command: '{UNTIL_GO}; echo x >> tally; [ -e good ] || exit 1 {{x}}'\ngrid: {{x: [1]}}\n", 1)
    wait_for(lambda: shop.attempt(1))
    pid = supervisor(shop, 1)
    kill(shop.scheduler())
    (shop.folder / "go").touch()
    wait_for(lambda: not procs.start_ticks(pid))
    (shop.folder / "good").touch()
    assert shop.run(parallel=1) == {"done": 1}
    assert shop.lines() == ["x", "x"]


@pytest.mark.parametrize("parallel", [None, 2])
def test_a_run_whose_supervisor_was_killed_is_run_again_after_its_rest_is_ended(
    shop: Workshop, parallel: int | None
) -> None:
    keep = "import os,sys,time; os.setsid(); os.closerange(0, 99); time.sleep(99)"
    (shop.folder / "keep.py").write_text(f"# {shop.folder}\n{keep}")
    work = f"trap '' HUP; if [ $SWEEP_RUN$SWEEP_ATTEMPT = 11 ]; then {PYTHON} {shop.folder}/keep.py & sleep 99; fi"
    (shop.folder / "work.sh").write_text(work + "\n")
    shop.launch("command: 'echo start >> tally; . ./work.sh'\ngrid: {x: [1, 2]}\n", parallel)
    wait_for(lambda: shop.lines())
    wait_for(lambda: shop.attempt(1))
    kill(supervisor(shop, 1))
    wait_for(lambda: (found := shop.attempt(1)) is not None and found.number == 2)
    again = shop.outcome(1) or wait_for(lambda: shop.outcome(1))
    assert again.attempt == 2
    control.stop(shop.sweep)
    shop.finish()


def test_lost_three_times_in_a_row_is_failed(shop: Workshop) -> None:
    assert shop.run("command: 'echo x >> tally; kill -9 $PPID; sleep 9; : {x}'\ngrid: {x: [1]}\n", 1) == {"failed": 1}
    assert shop.lines() == ["x"] * 3
    record = shop.ask(lambda store: store.record(1))
    assert record.note == "lost 3 times in a row"


def test_everything_killed_at_once_goes_on_after_the_next_launch(shop: Workshop) -> None:
    shop.launch(counted(UNTIL_GO), 2)
    wait_for(lambda: len(shop.lines()) == 2)
    server = int(shop.tmux("display-message", "-p", "#{pid}"))
    # Nobody may see another go, as in a reset: all are stopped before the first is killed, and the tmux server, whose
    # end the kernel tells to those in its windows, is killed last.
    found = sorted({*processes_of(shop.folder), server}, key=lambda pid: pid == server)
    procs.signal_all([server, *found], signal.SIGSTOP)
    end_all(found)
    assert not processes_of(shop.folder)
    assert not shop.tmux("list-sessions")
    assert not shop.alive()
    (shop.folder / "go").touch()
    assert shop.run(parallel=2) == {"done": 4}
    starts = [line for line in shop.lines() if line.startswith("start")]
    assert len(starts) == 6
    assert sorted(line for line in starts if line.endswith("2")) == ["start 1 2", "start 2 2"]


def test_supervisors_that_cannot_start_are_an_error_and_not_a_loop(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = shop.plan("command: 'true'\ngrid: {x: {range: [0, 9]}}\n", 2)
    broken = shop.folder / "broken"
    broken.mkdir()
    link = shop.folder / "armed"
    monkeypatch.setenv("SWEEP_TEST_CRASH", str(link))

    launched = launch.carry_out(plan)
    assert launched.session
    deaths = 0
    while shop.alive() and deaths < 50:
        with contextlib.suppress(FileExistsError):
            link.symlink_to("before fork")
            deaths += 1
        time.sleep(0.005)
    shop.finish()
    wish = shop.ask(lambda store: store.wish())
    assert wish.want == "stop"
    assert wish.why.startswith("3 times in a row no run could be started: its supervisor died; see ")


# -- the queue and the folder taken away -------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["deleted", "garbage"])
def test_a_queue_lost_while_it_runs_is_rebuilt(shop: Workshop, way: str) -> None:
    shop.launch(counted(UNTIL_GO, "{range: [0, 6]}"), 2)
    wait_for(lambda: len(shop.lines()) == 2)
    if way == "deleted":
        shop.sweep.db.unlink()
    else:
        for suffix in ("", "-wal"):
            file = Path(f"{shop.sweep.db}{suffix}")
            file.write_bytes(os.urandom(file.stat().st_size))
    (shop.folder / "go").touch()
    assert shop.finish() == {"done": 6}
    assert sorted(line for line in shop.lines() if line.startswith("start")) == [f"start {x} 1" for x in range(6)]


def test_a_runs_folder_deleted_while_it_runs_ends_the_sweep(shop: Workshop) -> None:
    shop.launch(counted("sleep 0.3", "{range: [0, 6]}"), 2)
    wait_for(lambda: len(shop.lines()) >= 2)
    pid = shop.scheduler()
    shutil.rmtree(shop.folder / "runs", ignore_errors=True)
    shutil.rmtree(shop.folder / "runs", ignore_errors=True)
    wait_for(lambda: not procs.start_ticks(pid))
    shop.tmux("kill-session", "-t", "=sweep-s")  # its window stays, and says what happened
    wait_for(lambda: processes_of(shop.sweep.path) == [])
    (shop.folder / "tally").unlink()
    assert shop.run(parallel=2) == {"done": 6}


def test_a_full_disk_is_waited_for(private: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("mounting a small disk needs root")
    disk = private / "runs"
    disk.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], check=False)
    if made.returncode != 0:
        pytest.skip("a small disk cannot be mounted here")
    shop = Workshop(private)
    try:
        shop.launch(counted("head -c 300000 /dev/zero | tr '\\0' x", "{range: [0, 12]}"), 2)
        wait_for(lambda: os.statvfs(disk).f_bavail == 0)
        with pytest.raises(pytest.fail.Exception):  # it stays so, and nobody gives up
            wait_for(lambda: not shop.alive(), 1.0)
        subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
        assert shop.finish(60) == {"done": 12}
        assert len([line for line in shop.lines() if line.startswith("start")]) == 12
        assert all(len(shop.log(number)) == 300_000 for number in range(1, 13))
    finally:
        control.stop(shop.sweep)
        wait_for(lambda: subprocess.run(["umount", str(disk)], check=False, capture_output=True).returncode == 0)


# -- what it costs -----------------------------------------------------------------------------------------------------


def test_an_idle_scheduler_sleeps(shop: Workshop) -> None:
    shop.launch(counted(UNTIL_GO, "{range: [0, 6]}"), 2)
    wait_for(lambda: len(shop.lines()) == 2)
    pid = shop.scheduler()

    def ticks() -> int:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def settled() -> bool:
        before = ticks()
        time.sleep(0.3)
        return ticks() == before

    wait_for(settled)
    before = ticks()
    time.sleep(1.0)  # not to wait for something, but to see that nothing happens
    assert ticks() - before <= 1
    status = Path(f"/proc/{pid}/status").read_text()
    assert int(status.split("VmRSS:")[1].split()[0]) < 50_000
    (shop.folder / "go").touch()
    shop.finish()
