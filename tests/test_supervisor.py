"""One attempt with real processes: how it ends, what its log and its terminal get, and that nothing outlives it."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import lock_descriptor

from sweeper import folders, model, paths, procs
from sweeper.supervisor import ending
from tests.conftest import memory_disk, processes_of, wait_for
from tests.supervision import Hand, Supervised

PYTHON = shlex.quote(sys.executable)


@pytest.fixture
def hand(private: Path) -> Iterator[Hand]:
    hand = Hand(private)
    yield hand
    hand.close()


def python(program: str) -> str:
    return f"{PYTHON} -c {shlex.quote(program)}"


def ended(window: Supervised, outcome: str, code: int | None = None, number: int | None = None) -> model.Outcome:
    found = window.outcome()
    assert (found.outcome, found.exit_code, found.signal) == (outcome, code, number), found
    return found


# -- outcomes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "outcome", "code", "number", "reason"),
    [
        ("true", model.DONE, 0, None, ""),
        ("echo oh; exit 3", model.FAILED, 3, None, "exit status 3: oh"),
        ("kill -SEGV $$", model.FAILED, None, signal.SIGSEGV, "killed by SIGSEGV"),
        ("bash -c 'kill -9 $$'; exit $?", model.FAILED, 137, None, "exit status 137 (SIGKILL)"),
        ("no-such-program-here", model.FAILED, 127, None, "exit status 127: bash: line 2: no-such-program-here"),
        ("echo 'CUDA out of memory. Tried to allocate'; exit 1", model.OUT_OF_MEMORY, 1, None, "exit status 1: out of"),
        ("if then", model.FAILED, 2, None, "exit status 2"),
    ],
)
def test_an_outcome_tells_how_the_command_ended(
    hand: Hand, command: str, outcome: str, code: int | None, number: int | None, reason: str
) -> None:
    found = ended(hand.run(command), outcome, code, number)
    assert found.reason.startswith(reason)
    assert found.started <= found.ended


def test_a_folder_that_is_gone_is_a_failed_run_that_says_so(hand: Hand) -> None:
    window = hand.run("true", workdir=str(hand.folder / "gone"))
    assert "No such file" in ended(window, model.FAILED, 126).reason


def test_before_is_run_first_in_the_same_shell_and_ends_the_run_where_it_fails(hand: Hand) -> None:
    window = hand.run("echo $WORD", before="WORD=said # no comment of mine")
    ended(window, model.DONE, 0)
    assert window.log == b"said\r\n"
    ended(hand.run("echo never", number=2, before="false"), model.FAILED, 1)


def test_a_timeout_ends_it(hand: Hand) -> None:
    found = ended(hand.run("sleep 100", timeout=0.2), model.TIMEOUT, None, signal.SIGTERM)
    assert found.reason == "longer than its timeout of 0.2 s"


def test_a_run_that_ignores_term_is_killed_after_its_grace(hand: Hand) -> None:
    window = hand.run("trap '' TERM; echo ready; while :; do sleep 0.05; done", grace=0.4)
    wait_for(lambda: b"ready" in window.log)
    began = time.monotonic()
    window.send("stop", why="enough")
    found = window.outcome()
    assert found.outcome == model.STOPPED
    assert found.signal == signal.SIGKILL
    assert 0.4 <= time.monotonic() - began < 5


def test_a_run_that_minds_term_has_its_grace_to_save(hand: Hand) -> None:
    window = hand.run("trap 'sleep 0.2; echo saved; exit 0' TERM; echo ready; while :; do sleep 0.05; done")
    wait_for(lambda: b"ready" in window.log)
    window.send("stop", why="enough")
    assert window.outcome().outcome == model.STOPPED
    assert b"saved" in window.log


def test_a_closed_window_stops_the_run(hand: Hand) -> None:
    window = hand.run("echo ready; sleep 100")
    wait_for(lambda: b"ready" in window.log)
    os.kill(window.process.pid, signal.SIGHUP)
    assert ended(window, model.STOPPED, None, signal.SIGTERM).reason == "its window was closed"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_to_the_supervisor_stops_the_run_in_good_order(hand: Hand, number: signal.Signals) -> None:
    window = hand.run("sleep 100")
    os.kill(window.process.pid, number)
    assert number.name in ended(window, model.STOPPED, None, signal.SIGTERM).reason


def test_a_stopped_process_is_woken_to_be_ended(hand: Hand) -> None:
    window = hand.run("echo ready; kill -STOP $$; sleep 100")
    wait_for(lambda: b"ready" in window.log)
    window.send("stop", why="enough")
    assert window.outcome().outcome == model.STOPPED


# -- nothing outlives it -----------------------------------------------------------------------------------------------

DAEMON = """
import os, sys, time, signal
open("ready", "w").close()
if os.fork(): sys.exit(0)
os.setsid()
if os.fork(): os._exit(0)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.closerange(0, 1000)
time.sleep(1000)
"""


def test_a_daemon_that_closed_everything_ends_with_its_run(hand: Hand) -> None:
    window = hand.run(python(DAEMON), grace=0.3)
    ended(window, model.DONE, 0)
    assert processes_of(window.run_dir.path) == []


STRAGGLER = "(trap '' TERM HUP; while [ ! -e go ]; do sleep 0.02; done) & echo main $$;"


def main_of(window: Supervised) -> int:
    """The pid of the command's main process, which says it."""
    said = wait_for(lambda: re.search(rb"main (\d+)\r\n", window.log))
    return int(said[1])


def reaped(pid: int) -> bool:
    """Whether its supervisor knows of its end."""
    return not Path(f"/proc/{pid}").exists()


def test_what_a_shutdown_ends_before_its_supervisor_has_not_failed(hand: Hand) -> None:
    """Stragglers of it live on when the supervisor's turn comes."""
    window = hand.run(f"{STRAGGLER} exec sleep 1000")
    main = main_of(window)
    os.kill(main, signal.SIGTERM)
    wait_for(lambda: reaped(main))
    window.process.terminate()
    (hand.folder / "go").touch()
    assert "together with its supervisor" in ended(window, model.STOPPED, None, signal.SIGTERM).reason


def test_what_failed_before_its_stragglers_were_ended_by_a_shutdown_has_failed(hand: Hand) -> None:
    window = hand.run(f"{STRAGGLER} exit 3")
    main = main_of(window)
    wait_for(lambda: reaped(main))
    failed = time.monotonic()
    wait_for(lambda: time.monotonic() > failed + 2 * ending.TOGETHER)
    window.process.terminate()
    (hand.folder / "go").touch()
    ended(window, model.FAILED, 3, None)


def test_background_processes_are_told_before_they_are_killed(hand: Hand) -> None:
    straggler = "trap '' HUP; trap 'echo told; exit' TERM; echo up; : >up; while :; do sleep 0.02; done"
    window = hand.run(f"({straggler}) & while [ ! -e up ]; do sleep 0.02; done")
    ended(window, model.DONE, 0)
    assert window.log.startswith(b"up\r\n")
    assert window.log.endswith(b"told\r\n")


HOPPERS = """
import os, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
own_session = sys.argv[1] == "setsid"
for _ in range(20):
    if os.fork() == 0:
        for _ in range(1_000_000):
            if os.fork():
                os._exit(0)
            if own_session:
                os.setsid()
"""


@pytest.mark.parametrize("way", ["setsid", "together"])
def test_programs_that_fork_without_end_cannot_outrun_the_killing(hand: Hand, way: str) -> None:
    """Twenty processes, each of which lives only until it has forked the next."""
    window = hand.run(f"{python(HOPPERS)} {way}; sleep 9", grace=0.2, timeout=0.3)
    assert window.outcome(30).outcome == model.TIMEOUT
    assert processes_of(window.run_dir.path) == []


def test_the_lock_is_held_by_what_is_left_when_the_supervisor_is_killed(hand: Hand) -> None:
    window = hand.run("(trap '' HUP; echo up; exec sleep 1000) & wait")
    wait_for(lambda: b"up" in window.log)
    window.process.kill()
    window.process.wait()
    lock = window.run_dir.lock
    assert folders.is_held(lock)
    assert procs.end_run(str(window.run_dir.path), str(lock)) == []
    assert not folders.is_held(lock)
    assert processes_of(window.run_dir.path) == []


def test_what_is_left_of_a_lost_attempt_is_ended_before_the_next(hand: Hand) -> None:
    closed = "import os, time; os.setsid(); os.closerange(0, 1000); os.mkdir('closed'); time.sleep(1000)"
    window = hand.run(f"trap '' HUP; {python(closed)} {hand.folder.name} & wait")
    wait_for((hand.folder / "closed").exists)
    window.process.kill()
    window.process.wait()
    run = window.run_dir
    wait_for(lambda: not folders.is_held(run.lock))
    assert processes_of(run.path), "the straggler that closed the lock must still be there for this test"
    again = hand.start()
    again.prepare(hand.job(f"pgrep -fc {shlex.quote('[c]loserange.*' + hand.folder.name)}"))
    again.go(known=1)
    found = again.outcome()
    assert found.attempt == 2
    assert again.log.endswith(b"0\r\n"), "the straggler lived while the second attempt ran"


# -- the log -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 4095, 65537, 20_000_000])
def test_every_byte_is_in_the_log_in_order(hand: Hand, size: int) -> None:
    program = f"""
import os, random
data = random.Random({size}).randbytes({size}).replace(b"\\n", b"n")
at = 0
while at < len(data):
    at += os.write(1, data[at:at + 100000])
"""
    window = hand.run(f"stty -opost; {python(program)}")
    found = ended(window, model.DONE, 0)
    import random

    log = window.log
    assert len(log) == size == found.log_end
    assert log == random.Random(size).randbytes(size).replace(b"\n", b"n")


def test_no_output_and_closed_outputs_are_no_trouble(hand: Hand) -> None:
    window = hand.run("sleep 0.05")
    ended(window, model.DONE, 0)
    assert window.log == b""
    window = hand.run("exec >&- 2>&- <&-; sleep 0.2", number=2)
    ended(window, model.DONE, 0)
    assert window.log == b""


def test_a_terminal_opened_again_after_all_was_closed_is_heard(hand: Hand) -> None:
    late = "import os, time; os.closerange(0, 3); time.sleep(0.1); os.open('/dev/tty', 1); os.write(0, b'x' * 500000)"
    window = hand.run(python(late))
    ended(window, model.DONE, 0)
    assert len(window.log) == 500_000


def test_the_next_attempt_goes_on_in_the_same_log(hand: Hand) -> None:
    ended(hand.run("echo one; exit 1"), model.FAILED, 1)
    window = hand.start()
    window.prepare(hand.job("echo two $SWEEP_ATTEMPT"))
    window.go(known=1)
    found = ended(window, model.DONE, 0)
    assert window.log == b"one\r\ntwo 2\r\n"
    assert (found.log_offset, found.log_end) == (5, 12)


def test_a_window_that_takes_nothing_holds_nothing_up(hand: Hand) -> None:
    window = hand.start()
    window.reading = False
    window.prepare(hand.job(f"stty -opost; head -c 3000000 /dev/zero | tr '\\0' y; {PYTHON} -c 'print(1)'"))
    window.go()
    ended(window, model.DONE, 0)
    assert len(window.log) == 3_000_002
    window.reading = True


def test_a_window_that_is_no_terminal_gets_the_output(hand: Hand) -> None:
    window = hand.start(terminal=False)
    window.prepare(hand.job("stty size; test -t 1"))
    window.go()
    ended(window, model.DONE, 0)
    wait_for(lambda: bytes(window.shown) == b"24 80\r\n", what=bytes(window.shown).decode())


# -- the terminal ------------------------------------------------------------------------------------------------------


def test_the_command_has_a_terminal_of_the_windows_size(hand: Hand) -> None:
    window = hand.run(
        "trap 'stty size; exit' WINCH; test -t 0 -a -t 1 -a -t 2 && stty size; while :; do sleep 0.02; done"
    )
    wait_for(lambda: b"30 100" in window.log)
    window.resize(40, 120)
    ended(window, model.DONE, 0)
    assert window.log == b"30 100\r\n40 120\r\n"


def test_what_is_typed_reaches_the_command(hand: Hand) -> None:
    window = hand.run("read -r line; echo got $line")
    window.type(b"word\n")
    ended(window, model.DONE, 0)
    assert b"got word" in window.log
    wait_for(lambda: b"got word" in window.shown)


def test_ctrl_c_reaches_the_command_and_counts_as_stopped(hand: Hand) -> None:
    window = hand.run("echo ready; exec sleep 100")
    wait_for(lambda: b"ready" in window.log)
    window.type(b"\x03")
    assert ended(window, model.STOPPED, None, signal.SIGINT).reason == "Ctrl-C in its window"


def test_a_command_that_takes_ctrl_c_for_itself_goes_on(hand: Hand) -> None:
    window = hand.run("trap 'echo caught; go=1' INT; echo ready; while [ -z $go ]; do sleep 0.02; done; echo on")
    wait_for(lambda: b"ready" in window.log)
    window.type(b"\x03")
    ended(window, model.DONE, 0)
    assert window.log.replace(b"^C", b"") == b"ready\r\ncaught\r\non\r\n"


def test_ctrl_s_freezes_nothing(hand: Hand) -> None:
    window = hand.run("read -r line; echo on")
    window.type(b"\x13\n")
    ended(window, model.DONE, 0)


def test_terminal_modes_and_titles_do_not_carry_over(hand: Hand) -> None:
    window = hand.run(r"printf '\033]0;#(touch owned)\007\033[?25l'; stty raw -echo; printf done")
    ended(window, model.DONE, 0)
    window = hand.run("stty -a | grep -c -- ' -icanon'", number=2)
    window.outcome()
    assert window.log == b"0\r\n"
    assert not (hand.folder / "owned").exists()


# -- the environment ---------------------------------------------------------------------------------------------------


def test_the_run_knows_who_it_is(hand: Hand) -> None:
    hand.environment({"PATH": os.environ["PATH"], "MINE": "kept", "LATIN": os.fsdecode(b"\xe9")})
    window = hand.run(
        f"{PYTHON} -c 'import os, json; print(json.dumps(dict(os.environ)))'; pwd",
        params={"a": "x' $(touch owned) \n\u00fc", "b": 1e-5},
        env={"OWN": "set"},
    )
    ended(window, model.DONE, 0)
    text, pwd, _ = window.log.decode().split("\r\n")
    found = json.loads(text)
    assert found["SWEEP_RUN_DIR"] == str(window.run_dir.path)
    assert (found["SWEEP_NAME"], found["SWEEP_RUN"], found["SWEEP_ATTEMPT"]) == ("s", "1", "1")
    assert json.loads(found["SWEEP_PARAMS"]) == {"a": "x' $(touch owned) \n\u00fc", "b": 1e-5}
    assert (found["MINE"], found["OWN"], os.fsencode(found["LATIN"])) == ("kept", "set", b"\xe9")
    assert "SWEEP_GO" not in found
    assert pwd == str(hand.folder)
    assert not (hand.folder / "owned").exists()


def test_a_very_long_command_is_run(hand: Hand) -> None:
    words = " ".join(f"--p{index}=value" for index in range(20_000))
    window = hand.run(f"f() {{ echo $#; return 4; }}; f {words}", params={"p": "v" * 200_000})
    ended(window, model.FAILED, 4)
    assert window.log == b"20000\r\n"


# -- who may begin -----------------------------------------------------------------------------------------------------


def test_a_run_that_is_held_is_refused(hand: Hand) -> None:
    run = hand.job("true")
    lock = folders.open_lock(run.lock)
    assert lock_descriptor(lock, blocking=False)
    window = hand.start()
    window.prepare(run)
    window.go(started=False)
    assert window.hear("refused")["cause"] == "held"
    os.close(lock)
    window.process.wait(10)
    assert folders.history(run).attempts == 0


def test_looking_at_a_lock_never_makes_its_taker_fail(hand: Hand) -> None:
    run = hand.job("true")
    lock = folders.open_lock(run.lock)
    looker = os.open(run.lock, os.O_RDONLY)
    import fcntl
    import threading

    fcntl.flock(looker, fcntl.LOCK_SH)
    assert not folders.is_held(run.lock), "two who look do not see each other"
    threading.Timer(0.01, os.close, [looker]).start()
    assert folders.take_lock(lock, 5.0)
    assert folders.is_held(run.lock)
    os.close(lock)


@pytest.mark.parametrize(("ending", "cause"), [("exit 0", "known"), ("kill -9 $PPID; sleep 9", "lost")])
def test_a_folder_that_knows_more_than_the_queue_is_refused(hand: Hand, ending: str, cause: str) -> None:
    window = hand.run(ending)
    if cause == "known":
        window.outcome()
    window.process.wait(10)
    run = window.run_dir
    wait_for(lambda: not folders.is_held(run.lock))
    again = hand.start()
    again.prepare(run)
    again.go(known=0, started=False)
    assert again.hear("refused")["cause"] == cause
    again.process.wait(10)
    assert folders.history(run).attempts == 1


def test_a_half_written_outcome_is_none(hand: Hand) -> None:
    window = hand.run("true")
    window.outcome()
    run = window.run_dir
    for text in ("", '{"outcome": "do', '{"outcome": "never heard of it"}', "[]", "\0" * 100):
        run.outcome(1).write_text(text)
        past = folders.history(run)
        assert (past.attempts, past.outcome, past.losses) == (1, None, 1)


def test_a_standby_leaves_when_its_scheduler_goes(hand: Hand) -> None:
    idle, ready = hand.start(), hand.start()
    ready.prepare(hand.job("true"))
    idle.hang_up()
    ready.hang_up()
    assert idle.process.wait(10) == 0
    assert ready.process.wait(10) == 0
    assert folders.history(ready.run_dir).attempts == 0
    wait_for(lambda: processes_of(ready.run_dir.path) == [])


def test_a_run_goes_on_when_its_scheduler_goes(hand: Hand) -> None:
    window = hand.run("sleep 0.3; echo whole")
    window.hang_up()
    window.process.wait(10)
    found = folders.history(window.run_dir).outcome
    assert found is not None
    assert found.outcome == model.DONE
    assert window.log == b"whole\r\n"


def test_bye_does_not_end_what_runs(hand: Hand) -> None:
    window = hand.run("sleep 0.3")
    window.send("bye")
    ended(window, model.DONE, 0)


def test_a_shell_killed_before_its_turn_is_no_attempt(hand: Hand) -> None:
    window = hand.start()
    window.prepare(hand.job("true"))
    shells = procs.descendants(window.process.pid)
    assert len(shells) == 1
    os.kill(shells[0], signal.SIGKILL)
    assert "before it began" in window.hear("refused")["why"]
    window.process.wait(10)
    assert folders.history(window.run_dir).attempts == 0


def test_a_folder_deleted_while_it_runs_is_told(hand: Hand) -> None:
    import shutil

    window = hand.run("echo up; while [ ! -e go ]; do sleep 0.02; done")
    wait_for(lambda: b"up" in window.log)
    shutil.rmtree(window.run_dir.path)
    (hand.folder / "go").touch()
    assert "gone" in window.hear("unrecorded")["why"]
    window.process.wait(10)


# -- a full disk -------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(private: Path) -> Iterator[Path]:
    yield from memory_disk(private / "disk", "1m")


def test_a_full_disk_holds_the_run_and_loses_no_byte(small_disk: Path) -> None:
    hand = Hand(small_disk)
    try:
        window = hand.start()
        write = python("import sys; sys.stdout.write(chr(120) * 2000000)")
        window.prepare(hand.job(f"stty -opost; {write}", stall=1.5))
        ballast = small_disk / "ballast"
        window.go()
        assert "No space left" in window.hear("trouble")["text"]
        assert window.process.poll() is None
        assert "No space left" in window.hear("stalled")["held"], "not the run's fault"
        import subprocess

        ballast.unlink(missing_ok=True)
        subprocess.run(["mount", "-o", "remount,size=9m", str(small_disk)], check=True)
        ended(window, model.DONE, 0)
        assert window.log == b"x" * 2_000_000
    finally:
        hand.close()


def test_an_outcome_waits_for_room(small_disk: Path) -> None:
    hand = Hand(small_disk)
    try:
        ballast = small_disk / "ballast"
        go = small_disk.parent / "go"
        window = hand.run("while [ ! -e go ]; do sleep 0.02; done", workdir=str(small_disk.parent))
        with pytest.raises(OSError, match="No space"):
            ballast.write_bytes(bytes(2_000_000))
        go.touch()
        assert "outcome" in window.hear("trouble")["text"]
        assert folders.is_held(window.run_dir.lock)
        ballast.unlink()
        ended(window, model.DONE, 0)
    finally:
        hand.close()


# -- what it costs -----------------------------------------------------------------------------------------------------


def _cost(pid: int) -> dict[str, Any]:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return {"rss": int(status["VmRSS"].split()[0]) * 1024, "ticks": int(fields[11]) + int(fields[12])}


def test_a_supervisor_is_small_and_sleeps(hand: Hand) -> None:
    window = hand.run("echo up; read -r line")
    wait_for(lambda: b"up" in window.log)
    before = _cost(window.process.pid)
    time.sleep(0.5)  # not to wait for something, but to see that nothing happens
    after = _cost(window.process.pid)
    assert after["rss"] < 30e6
    assert after["ticks"] - before["ticks"] <= 1
    window.type(b"\n")
    window.outcome()


def test_a_stall_is_told_once_until_there_is_output_again(hand: Hand) -> None:
    window = hand.run("stty -echo; read -r a; echo up; read -r b", stall=1.0)
    assert window.hear("stalled")["seconds"] >= 1.0
    window.type(b"\n")
    window.hear("stalled")
    window.type(b"\n")
    window.outcome()
    assert not [message for message in window.heard if message["kind"] == "stalled"]


def test_a_clock_set_back_is_harmless() -> None:
    """Nothing waits or times out by the wall clock: it is only ever written down."""
    root = Path(paths.__file__).parent
    for file in [*root.glob("supervisor/*.py"), *root.glob("scheduler/*.py"), root / "procs.py", root / "channel.py"]:
        for number, line in enumerate(file.read_text().splitlines(), 1):
            if "time.time()" in line:
                assert "started=" in line or "ended=" in line, f"{file.name}:{number}: {line.strip()}"


def test_a_supervisor_that_fails_says_why_before_it_is_gone(hand: Hand) -> None:
    window = hand.start()
    window.send("go", known=0)  # there is nothing to go on with
    assert "AssertionError" in window.hear("crashed")["why"]
    window.process.wait(10)
