"""Looking works wherever anything can be read: a full or read-only disk, another's sweep, damaged files; and whoever
cannot change something is told what is in the way, whose it is, and the way out."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sweeper import control, folders, index, model, paths
from sweeper.errors import InputError, SweepError
from sweeper.store import open_store
from tests.conftest import ROOT, Said, Workshop, ordinary, remount, say, wait_for

TEXT = "command: 'echo loss=0.{x}; test {x} != 2'\ngrid: {x: [1, 2, 3]}\ngpus: 0\n"
WAITS = "command: 'echo {x} >> tally; while ! test -e go; do sleep 0.02; done'\ngrid: {x: [1, 2]}\ngpus: 0\n"
LOOKING = (["status", "s"], ["status", "s", "--json"], ["ls"], ["report", "s"], ["logs", "s", "1"])
CHANGING = (["stop", "s", "3"], ["pause", "s"], ["resume", "s"], ["retry", "s"], ["s.yaml", "--serial", "--detach"])
BOB = 60002


def listed(folder: Path) -> dict[str, tuple[int, int]]:
    """Everything below a folder, by when it was changed and how large it is."""
    return {
        str(path): (status.st_mtime_ns, status.st_size)
        for path in sorted(folder.rglob("*"))
        if (status := path.lstat()) and not stat.S_ISDIR(status.st_mode)
    }


def leave_a_log(sweep: paths.SweepDir) -> None:
    """What a power cut leaves: the queue's last change stands in its log alone."""
    with contextlib.closing(open_store(sweep)) as store:
        store.set_state(2, model.FAILED, "from the log")
        kept = {suffix: Path(f"{sweep.db}{suffix}").read_bytes() for suffix in ("", "-wal")}
    for suffix, content in kept.items():
        Path(f"{sweep.db}{suffix}").write_bytes(content)
    assert kept["-wal"]


# -- a read-only disk ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("log", [False, True])
def test_on_a_read_only_disk_everything_can_be_looked_at(shop: Workshop, runs_disk: Path, log: bool) -> None:
    assert shop.run(TEXT) == {"done": 2, "failed": 1}
    if log:
        leave_a_log(shop.sweep)
    remount(runs_disk, "ro")
    before = listed(runs_disk)
    for words in LOOKING:
        said = said_here(words)
        assert (said.code, said.err) == (0, "")
    said = say("status", "s")
    assert "s: 2 of 3 done · 1 failed" in said.out
    assert ("from the log" in said.out) == log
    assert "loss=0.1" in say("logs", "s", "1").out
    assert listed(runs_disk) == before
    for words in (*CHANGING, ["rm", "s", "--yes"]):
        said = say(*words, check=1)
        assert (
            f"s cannot be changed: {shop.sweep.launch_lock}: Read-only file system (mounted at {runs_disk})" in said.err
        )
        assert "mount -o remount,rw" in said.err
    remount(runs_disk, "rw")
    assert shop.run() == {"done": 2, "failed": 1}


def test_a_damaged_queue_on_a_read_only_disk_is_read_from_the_folders(shop: Workshop, runs_disk: Path) -> None:
    shop.run(TEXT)
    shop.sweep.db.write_bytes(b"no database" * 1000)
    remount(runs_disk, "ro")
    said = say("status", "s", check=0)
    assert "s: 2 of 3 done · 1 failed" in said.out
    assert "what is shown is what its run folders say" in said.out
    assert "what is shown" in json.loads(say("status", "s", "--json").out)["note"]
    assert "2 done, 1 failed" in say("report", "s", check=0).out


# -- a full disk -----------------------------------------------------------------------------------------------------


def fill(place: Path) -> None:
    with open(place / "filler", "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    assert os.statvfs(place).f_bavail == 0


def test_on_a_full_disk_everything_can_be_looked_at(shop: Workshop, runs_disk: Path) -> None:
    shop.run(TEXT)
    fill(runs_disk)
    for words in LOOKING:
        said = said_here(words)
        assert (said.code, said.err) == (0, "")
    assert "s: 2 of 3 done · 1 failed" in say("status", "s").out
    for words in (["resume", "s"], ["retry", "s"], ["s.yaml", "--serial", "--detach"], ["new.yaml", "--serial"]):
        (shop.folder / "new.yaml").write_text(TEXT)
        said = said_here(words)
        assert said.code in (0, 1, 2)
        if said.code:
            assert "No space left on device (0 of 4 MB free at" in said.err
            assert "make room there" in said.err
    (runs_disk / "filler").unlink()
    wait_for(lambda: not shop.alive())
    assert shop.run() == {"done": 2, "failed": 1}


def test_on_a_full_disk_a_running_sweep_says_so_and_can_be_ended(shop: Workshop, runs_disk: Path) -> None:
    shop.launch(WAITS, 2)
    wait_for(lambda: len(shop.lines()) == 2 and shop.counts().get("running") == 2)
    fill(runs_disk)
    said = said_here(["status", "s"])
    assert "2 running" in said.out
    assert f"No space left on device (0 of 4 MB free at {runs_disk}): what runs is held until there is room" in said.out
    shop.file.write_text(WAITS + "timeout: 1h\n" + "# much more text\n" * 1000)
    for words in (["s.yaml", "--parallel", "2", "--detach"], ["report", "s", "--html"]):
        said = said_here(words)
        assert said.code == 1
        assert f"{shop.sweep.path}/" in said.err, "which file it was"
        assert "No space left on device (0 of 4 MB free" in said.err
    said = said_here(["stop", "s"])
    assert said.code == 1
    line = said.err.splitlines()[-1]
    assert line.endswith("ends its runs all the same")
    subprocess.run(["bash", "-c", line.removesuffix("ends its runs all the same")], check=True)
    (runs_disk / "filler").unlink()
    assert shop.finish() == {"stopped": 2}
    (shop.folder / "go").touch()
    assert shop.run(WAITS, 2) == {"done": 2}


# -- another user's --------------------------------------------------------------------------------------------------


@pytest.fixture
def shared(shop: Workshop) -> Iterator[Workshop]:
    """The shop's sweep, in a folder that another user may look into."""
    if os.geteuid() != 0:
        pytest.skip("only root can act as another user")
    place = Path(tempfile.mkdtemp(prefix="swl-"))
    place.chmod(0o755)
    shop.sweep = paths.SweepDir(place / "runs" / "s")
    os.environ["SWEEP_RUNS_DIR"] = str(place / "runs")  # the fixture `private` takes it away again
    if as_bob(place, "--version").code:
        pytest.skip("another user cannot run this interpreter here")
    yield shop
    del os.environ["SWEEP_RUNS_DIR"]
    (shop.folder / "go").touch()
    wait_for(lambda: not shop.alive())
    shutil.rmtree(place)


def as_bob(place: Path, *words: str) -> Said:
    before = ["setpriv", "--reuid", str(BOB), "--regid", str(BOB), "--clear-groups"]
    home = str(place / "bob")
    return say(*words, cwd=place, before=before, HOME=home, XDG_STATE_HOME=home, TMUX_TMPDIR=home)


def test_a_colleagues_sweep_can_be_looked_at_and_not_changed(shared: Workshop) -> None:
    place = shared.sweep.path.parent.parent
    shared.run(TEXT)
    (place / "s.yaml").write_text(TEXT)
    before = listed(place)
    for words in LOOKING:
        said = as_bob(place, *words)
        assert (said.code, said.err) == (0, ""), said
    assert "s: 2 of 3 done · 1 failed" in as_bob(place, "status", "s").out
    for words in (["stop", "s", "3"], ["s.yaml", "--serial"]):
        said = as_bob(place, *words)
        assert said.code == 2, said
        assert f"{shared.sweep.path} belongs to another user (root), who alone can change it" in said.err
        assert f"show it to you ({BOB})" in said.err
    assert listed(place) == before, "looking leaves nothing behind, not even beside the queue"


def test_a_colleagues_running_sweep_is_seen_to_run(shared: Workshop) -> None:
    place = shared.sweep.path.parent.parent
    shared.launch(WAITS, 2)
    wait_for(lambda: len(shared.lines()) == 2 and shared.counts().get("running") == 2)
    for mode in (0o644, 0o600):  # what cannot be opened is in the kernel's list of locks all the same
        for lock in (shared.sweep.lock, *(run.lock for _, run in folders.run_folders(shared.sweep))):
            lock.chmod(mode)
        said = as_bob(place, "status", "s")
        assert said.code == 0
        assert "0 of 2 done · 2 running" in said.out
        assert "  running, 2 at a time" in said.out


def test_a_colleagues_queue_that_is_closed_is_read_from_the_folders(shared: Workshop) -> None:
    place = shared.sweep.path.parent.parent
    shared.run(TEXT)
    shared.sweep.db.chmod(0o600)
    said = as_bob(place, "status", "s")
    assert said.code == 0, said
    assert "2 done" in said.out or "2 of" in said.out
    assert f"queue.db: Permission denied (-rw------- belongs to root, and you are {BOB})" in said.out
    assert as_bob(place, "report", "s").code == 0


# -- closed to us ----------------------------------------------------------------------------------------------------


def test_a_closed_sweep_is_closed_and_not_absent(shop: Workshop) -> None:
    shop.run(TEXT)
    shop.sweep.path.chmod(0)
    assert "Permission denied" in say("ls", before=ordinary(), check=0).out
    for words in (["status"], ["report", "s"], ["stop", "s"], ["s.yaml", "--serial"]):
        said = say(*words, before=ordinary(), check=2)
        assert f"the sweep 's' is closed to you: {shop.sweep.path}" in said.err
        assert f"Permission denied ({shop.sweep.path} d--------- belongs to you)" in said.err
        assert f"chmod u+rwx {shop.sweep.path} opens it" in said.err
    said = say("resume", "--all", check=1, before=ordinary())
    assert "closed to you" in said.err
    assert "resumed: none; 1 could not be" in said.out
    said = say("status", "t", check=2, before=ordinary())
    assert "there is no sweep called 't'" in said.err
    shop.sweep.path.chmod(0o755)


def test_a_closed_runs_folder_is_named_with_its_owner(shared: Workshop) -> None:
    place = shared.sweep.path.parent.parent
    shared.run(TEXT)
    shared.sweep.path.parent.chmod(0o700)
    said = as_bob(place, "status", "s")
    assert said.code == 2
    runs = shared.sweep.path.parent
    assert f"({runs} drwx------ belongs to root, and you are {BOB})" in said.err
    assert "ask root to open it" in said.err
    runs.chmod(0o755)


def test_a_sweep_elsewhere_is_found_although_the_runs_folder_here_is_closed(shop: Workshop, tmp_path: Path) -> None:
    shop.run(TEXT)
    here = tmp_path / "other"
    (here / "runs").mkdir(parents=True, mode=0)
    said = say("status", "s", cwd=here, before=ordinary(), check=0)
    assert "2 of 3 done" in said.out
    said = say("status", "unknown", cwd=here, before=ordinary(), check=2)
    assert f"{here}/runs d--------- belongs to you" in said.err
    (here / "runs").chmod(0o700)


def test_an_index_keeps_what_is_closed_for_now(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.run(TEXT)
    other = paths.SweepDir(shop.folder / "elsewhere" / "other")
    other.path.mkdir(parents=True)
    other.file.write_text("")
    index.remember(other)
    other.path.parent.chmod(0)
    say("logs", "s", "1", before=ordinary(), check=0)  # which notes it as used
    other.path.parent.chmod(0o700)
    assert {entry.path for entry in index.entries()} == {other.path, shop.sweep.path}


def test_one_run_that_is_closed_hinders_no_other(shop: Workshop) -> None:
    shop.run(TEXT)
    run = shop.run_dir(2)
    assert run is not None
    run.path.chmod(0)
    for words in LOOKING:
        assert say(*words, before=ordinary()).code == 0
    shop.file.write_text(TEXT.replace("[1, 2, 3]", "[1, 2, 3, 4]"))
    say("s.yaml", "--parallel", "2", "--detach", before=ordinary(), check=0)
    wait_for(lambda: shop.state(4) == model.DONE)
    assert "3 of 4 done" in say("status", "s", before=ordinary(), check=0).out
    assert str(run.path) in shop.tell()
    run.path.chmod(0o755)
    assert shop.finish() == {"done": 3, "failed": 1}


# -- every file of a sweep, damaged in every way ---------------------------------------------------------------------


def zero(file: Path) -> None:
    file.write_bytes(b"")


def half(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def garbage(file: Path) -> None:
    file.write_bytes(bytes(range(256)) * 30)


def folder(file: Path) -> None:
    file.unlink(missing_ok=True)
    file.mkdir()
    (file / "something").touch()


def closed(file: Path) -> None:
    file.touch()
    file.chmod(0)


def gone(file: Path) -> None:
    file.unlink(missing_ok=True)


def dangling(file: Path) -> None:
    file.unlink(missing_ok=True)
    file.symlink_to("/nowhere/at/all")


DAMAGES: tuple[Callable[[Path], None], ...] = (zero, half, garbage, folder, closed, gone, dangling)
FILES = (
    "sweep.yaml", "queue.db", "queue.db-wal", "queue.db-shm", "lock", "launch.lock", "rebuild.lock", "owner.json",
    "environment-1.json", "scheduler.log", ".report.json", "0002-x=2/run.json", "0002-x=2/attempt-1.json",
    "0002-x=2/outcome-1.json", "0002-x=2/log.txt", "0002-x=2/lock",
)  # fmt: skip
# What can be refused, and then is told with its way out: everything else must show the sweep.
REFUSED = {("lock", dangling), ("owner.json", closed)}


def said_here(words: list[str]) -> Said:
    """A command in this process, as ``main`` guards it. An error that is not caught there fails the test."""
    guarded = importlib.import_module("sweeper.cli.main")._guarded
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = guarded(words)
    return Said(code, *(stream.buffer.getvalue().decode("utf-8", "replace") for stream in (out, err)))  # type: ignore[attr-defined]


def try_all(template: Path, place: Path, *commands: list[str]) -> None:
    """Every damage to every file, and these commands, in a process without power over permissions."""
    place.mkdir()
    os.chdir(place)
    for name in FILES:
        for damage in DAMAGES:
            for words in commands:
                shutil.copytree(template, place / "runs" / "s")
                file = place / "runs" / "s" / name
                if damage is half and not file.exists():
                    file.touch()
                damage(file)
                check(name, damage, words)
                shutil.rmtree(place / "runs")


def check(name: str, damage: Callable[[Path], None], words: list[str]) -> None:
    said = said_here(words)
    told = f"{name} {damage.__name__}: sweep {' '.join(words)}: {said}"
    for raw in ("Traceback", "Errno", "unable to open database", "disk I/O", "readonly database", "no such table"):
        assert raw not in said.text, told
    if words[0] in ("status", "report", "ls") and (name, damage) not in REFUSED:
        assert said.code == 0, told
        assert words[0] != "status" or '"total": 3' in said.out or "of 3 done" in said.out, told
    elif said.code:
        assert "\n    " in said.err or said.code == 2 or "its log is gone" in said.err, f"{told} names no way out"


EVERY = (*LOOKING, ["stop", "s"], ["stop", "s", "3"], ["pause", "s"], ["attach", "s"], ["rm", "s", "--yes"])


@pytest.mark.parametrize(
    "commands", [(["status", "s"], ["stop", "s"]), pytest.param(EVERY, marks=[pytest.mark.long])], ids=["two", "every"]
)
def test_no_damage_to_any_file_is_answered_in_another_programs_words(
    shop: Workshop, commands: tuple[list[str], ...]
) -> None:
    shop.run(TEXT)
    program = (
        "import sys, json; from pathlib import Path; from tests import test_looking;"
        "test_looking.try_all(Path(sys.argv[1]), Path(sys.argv[2]), *json.loads(sys.argv[3]))"
    )
    given = [str(shop.sweep.path), str(shop.folder / "place"), json.dumps(commands)]
    argv = [*ordinary(), sys.executable, "-c", program, *given]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("queue.db", garbage),
        ("queue.db-wal", folder),
        ("queue.db-shm", dangling),
        ("environment-1.json", half),
        ("owner.json", zero),
        ("0002-x=2/run.json", folder),
        ("0002-x=2/outcome-1.json", garbage),
    ],
)
def test_what_was_damaged_goes_on_when_it_is_launched_again(
    shop: Workshop, name: str, damage: Callable[[Path], None]
) -> None:
    text = TEXT.replace("echo", "echo $SWEEP_ATTEMPT {x} >> tally; echo")
    shop.run(text)
    (shop.sweep.path / name).touch()
    damage(shop.sweep.path / name)
    if name.endswith("run.json"):
        shutil.rmtree(shop.sweep.path / name)
    assert shop.run() == {"done": 2, "failed": 1}
    tally = [line for line in shop.lines() if line.split()[1] != "2"]
    assert sorted(tally) == ["1 1", "1 3"], "what was done is not done again"


def test_content_that_nobody_wrote_is_damage(shop: Workshop) -> None:
    shop.run(TEXT)
    with contextlib.closing(sqlite3.connect(shop.sweep.db)) as connection:
        connection.execute("UPDATE runs SET params = '{' WHERE number = 2")
        connection.commit()
    said = say("report", "s", check=0)
    assert "2 done, 1 failed" in said.out
    assert [*shop.sweep.path.glob("queue.db.damaged-*")]


def test_that_a_queue_was_rebuilt_is_said(shop: Workshop) -> None:
    shop.run(TEXT)
    shop.sweep.db.write_bytes(b"no database" * 1000)
    assert "the queue was rebuilt from the run folders: it was missing or damaged" in say("status", "s").out
    shop.sweep.db.write_bytes(b"no database" * 1000)
    said = say("s.yaml", "--serial")
    assert "the queue was rebuilt from the run folders: it was missing or damaged" in said.out


# -- in other hands --------------------------------------------------------------------------------------------------


def test_a_queue_that_another_keeps_locked_names_him(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    from sweeper.store import file

    shop.run(TEXT)
    monkeypatch.setattr(file, "BUSY", 0.2)
    program = "import os, sqlite3, signal, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
    program += "c.execute('BEGIN IMMEDIATE'); print('held', flush=True); os.kill(os.getpid(), signal.SIGSTOP)"
    with subprocess.Popen([sys.executable, "-c", program, shop.sweep.db], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        wait_for(lambda: "T (stopped)" in Path(f"/proc/{other.pid}/status").read_text())
        with pytest.raises(SweepError) as caught:
            control.retry(shop.sweep)
        other.kill()
    assert f"by process {other.pid} (stopped)" in str(caught.value)
    assert f"kill -CONT {other.pid} lets what is stopped go on" in str(caught.value)


def test_another_hosts_sweep_is_reported_and_no_more(shop: Workshop) -> None:
    shop.run(TEXT)
    owner = json.loads(shop.sweep.owner.read_text())
    assert owner["host"] == socket.gethostname()
    shop.sweep.owner.write_text(json.dumps({**owner, "host": "another"}))
    assert "2 done, 1 failed" in say("report", "s", check=0).out
    with pytest.raises(InputError, match="runs on host another"):
        control.look(shop.sweep, lambda store: store.counts())
    said = say("stop", "s", check=2)
    assert "give the command there" in said.err


def test_a_sweep_that_was_moved_is_not_called_unknown(shop: Workshop) -> None:
    shop.run(TEXT)
    there = shop.folder / "elsewhere"
    shop.sweep.path.parent.rename(there)
    for words in (["status", "s"], ["stop", "s"], ["report", str(shop.sweep.path)]):
        said = said_here(words)
        assert said.code == 2
        assert f"the sweep s was in {shop.sweep.path}, which was deleted or moved" in said.err
        assert "sweep status NEW/PLACE/s" in said.err
    assert "2 of 3 done" in said_here(["status", "elsewhere/s"]).out
    assert f"{shop.sweep.path} was deleted or moved since it was launched: this begins anew" in shop.plan(TEXT).notes
    shop.run(TEXT)
    assert shop.plan(TEXT).notes == []
    assert said_here(["rm", "s", "--yes"]).code == 0
    assert shop.plan(TEXT).notes == []
