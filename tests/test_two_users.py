"""Two users of one machine launch sweeps at once: one holder a GPU at every moment, and who waits is told for whom.

What happens is seen from three sides: a third user looks at `sweep gpus --json` all the time, the runs themselves keep
a tally that the product knows nothing of, and the windows are read as their users see them.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from sweeper import launch, paths, procs
from tests.conftest import wait_for

if TYPE_CHECKING:
    from people import Person, Town

pytest_plugins = ["nvml_standin", "people"]
WORK = """
import json, os, signal, sys, time

tally, gates, kind = sys.argv[1:4]
gpu, name = os.environ["CUDA_VISIBLE_DEVICES"], os.environ["SWEEP_NAME"] + "-" + os.environ["SWEEP_RUN"]
if kind == "heir":  # what computes outlives its command, its terminal and its supervisor
    pid = os.fork()
    if pid:
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

def ticks(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])

def note(what):
    beside = [one["pid"] for one in map(json.loads, open(tally)) if one["what"] == "begin" and one["gpu"] == gpu
              and one["pid"] != os.getpid() and ticks(one["pid"]) == one["ticks"]]
    line = {"what": what, "gpu": gpu, "run": name, "uid": os.getuid(), "pid": os.getpid(), "ticks": ticks(os.getpid()),
            "claim": os.environ["SWEEP_LEASE"], "beside": beside}
    os.write(file, (json.dumps(line) + "\\n").encode())

file = os.open(tally, os.O_WRONLY | os.O_APPEND)
note("begin")
while not (os.path.exists(f"{gates}/{name}") or os.path.exists(f"{gates}/all")):
    time.sleep(0.01)
note("end")
"""
SAMPLER = """
import json, sys, time
from sweeper import gpus
while True:
    print(json.dumps(gpus.gpus_json()), flush=True)
    time.sleep(0.01)
"""


class Night:
    """What the users' runs do, and what is seen of it."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.work, self.tally, self.gates = town.folder / "work.py", town.folder / "tally", town.folder / "gates"
        self.work.write_text(WORK)
        self.tally.touch()
        self.tally.chmod(0o666)  # every user's runs write there
        self.gates.mkdir()
        self.gates.chmod(0o755)
        self.seen = town.folder / "samples"
        self.looker = town.person()
        self.looker.environment["COLUMNS"] = "250"
        with open(self.seen, "wb") as file:
            self.sampler = self.looker.start(town.python, "-c", SAMPLER, stdout=file, stderr=None)

    def close(self) -> None:
        self.sampler.terminate()
        self.sampler.wait()

    def file(self, person: Person, name: str, runs: int, kind: str = "plain") -> str:
        """A sweep file of so many runs; gives its name."""
        command = f"{self.town.python} -I -S {self.work} {self.tally} {self.gates} {kind}"
        path = person.folder / f"{name}.yaml"
        path.write_text(f"command: {command}\ngrid: {{x: {{range: [1, {runs + 1}]}}}}\n")
        return path.name

    # -- what the third user sees ------------------------------------------------------------------------------

    def samples(self) -> list[list[dict[str, Any]]]:
        assert self.sampler.poll() is None, "the sampler has died"
        whole = self.seen.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def gpus(self) -> list[dict[str, Any]]:
        """Every GPU as it was seen last."""
        samples = self.samples()
        return samples[-1] if samples else []

    def holder(self, index: int) -> dict[str, Any]:
        def found() -> dict[str, Any] | None:
            rows = self.gpus()
            return rows[index]["holders"][0] if rows and rows[index]["holders"] else None

        holder: dict[str, Any] = wait_for(found, what=f"a holder of GPU {index}")
        return holder

    def queue(self) -> list[dict[str, Any]]:
        """Those who wait, in order; every run here may use any GPU."""
        rows = self.gpus()
        return list(rows[0]["queue"]) if rows else []

    # -- what the runs say -------------------------------------------------------------------------------------

    def told(self, what: str) -> list[dict[str, Any]]:
        return [line for line in map(json.loads, self.tally.read_text().splitlines()) if line["what"] == what]

    def open(self, name: str) -> None:
        """Let a run end (``all``: every one)."""
        (self.gates / name).touch()

    def check(self) -> None:
        """At no moment two on one GPU, whoever is asked."""
        for rows in self.samples():
            assert len(rows) == 2
            for row in rows:
                assert len(row["holders"]) == (1 if row["state"] == "held" else 0), row
        for line in [*self.told("begin"), *self.told("end")]:
            assert line["beside"] == [], line


@pytest.fixture
def night(town: Town) -> Iterator[Night]:
    found = Night(town)
    yield found
    found.close()


def alive(person: Person, name: str) -> bool:
    return launch.alive(paths.SweepDir(person.folder / "runs" / name))


def launched(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, (process.args, out, err)


def waits(window: str) -> str:
    """The last that a window says of what it waits for, its lines joined."""
    before, begins, text = " ".join(window.split()).rpartition(" waits for ")
    return before[-10:] + begins + text


def windows_say(night: Night, person: Person, holder: dict[str, Any]) -> None:
    """The window of every run of this user that waits says who holds the GPU: user, command, pid."""
    words = f"GPU 0, held by {holder['user']}: {holder['command']} (pid {holder['pid']}, since "

    def told() -> bool:
        mine = [one for one in night.queue() if one["user"] == person.name]
        said = [(session, waits(text)) for session, text in person.windows()]
        wanted = [(f"sweep-{one['sweep']}", f"run {one['run']} waits for {words}") for one in mine]
        return bool(mine) and all(
            any(name == session and text in line for session, line in said) for name, text in wanted
        )

    wait_for(told, what=f"{words} in {person.windows()}")


def test_two_users_launch_at_once(town: Town, night: Night) -> None:
    anna, bert = town.person(), town.person()
    sweep = (town.python, "-m", "sweeper")
    launched(
        anna.start(*sweep, night.file(anna, "alpha", 6), "--parallel", "3", "--detach"),
        bert.start(*sweep, night.file(bert, "beta", 6), "--parallel", "3", "--detach"),
        anna.start(*sweep, night.file(anna, "chain", 3), "--serial", "--detach"),
    )
    wait_for(lambda: len(night.queue()) == 5 and len(night.told("begin")) == 2, what="two that run and five that wait")

    for one, other in ((anna, bert), (bert, anna)):
        while (holder := night.holder(0))["user"] != other.name:
            night.open(f"{holder['sweep']}-{holder['run']}")
            wait_for(lambda before=holder["claim"]: night.holder(0)["claim"] != before, what="the next one's turn")
        windows_say(night, one, holder)
        waiting = next(run for run in night.queue() if run["user"] == one.name)
        line = f"waiting for GPU 0, held by {other.name}: {holder['command']} (pid {holder['pid']}, for 0:"
        assert line in one.sweep("status", waiting["sweep"])
        seen = json.loads(night.looker.sweep("gpus", "--json"))[0]
        assert [run["pid"] for run in seen["holders"]] == [holder["pid"]]
        table = night.looker.sweep("gpus")
        shown = f"{other.name}: {holder['sweep']} {holder['run']}: {holder['command']} (pid {holder['pid']}, for 0:"
        assert shown in table
        assert re.search(rf"pid {waiting['pid']} +{one.name}: {waiting['sweep']} {waiting['run']}: ", table), table

    night.open("all")
    wait_for(lambda: not (alive(anna, "alpha") or alive(bert, "beta") or alive(anna, "chain")), 40, "the end")
    night.check()
    for person, name, runs in ((anna, "alpha", 6), (bert, "beta", 6), (anna, "chain", 3)):
        assert person.status(name)["counts"] == {"done": runs}
    begun = night.told("begin")
    names = [f"{name}-{run}" for name, runs in (("alpha", 6), ("beta", 6), ("chain", 3)) for run in range(1, runs + 1)]
    assert sorted(line["run"] for line in begun) == sorted(line["run"] for line in night.told("end")) == sorted(names)
    assert {line["uid"] for line in begun[:7]} == {anna.uid, bert.uid}
    in_order(night)


def in_order(night: Night) -> None:
    """First come, first served: when one begins, all who came before and have not begun have a GPU free for them."""
    active: set[str] = set()
    lines = [json.loads(line) for line in night.tally.read_text().splitlines()]
    for place, line in enumerate(lines):
        if line["what"] == "end":
            active.remove(line["run"])
            continue
        overtaken = [one for one in lines[place:] if one["what"] == "begin" and one["claim"] < line["claim"]]
        assert len(active) + len(overtaken) <= 1, (line, active, overtaken)
        active.add(line["run"])


def test_what_a_killed_user_left_keeps_its_gpus_from_the_other(town: Town, night: Night) -> None:
    anna, bert = town.person(), town.person()
    anna.sweep(night.file(anna, "alpha", 2, "heir"), "--parallel", "2", "--detach")
    wait_for(lambda: len(night.told("begin")) == 2)
    heirs = {line["gpu"]: line for line in night.told("begin")}
    bert.sweep(night.file(bert, "beta", 2), "--parallel", "2", "--detach")
    wait_for(lambda: len(night.queue()) == 2)
    held = [night.holder(0), night.holder(1)]

    killed = [anna.scheduler("alpha"), *(holder["pid"] for holder in held)]
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not any(map(procs.start_ticks, killed)) and not alive(anna, "alpha"))
    past = len(night.samples())
    wait_for(lambda: len(night.samples()) > past + 30, what="more samples")
    for rows in night.samples()[past + 1 :]:
        assert [row["holders"][0]["claim"] for row in rows] == [holder["claim"] for holder in held]
        assert [[run["user"] for run in row["queue"]] for row in rows] == [[bert.name] * 2] * 2
    windows_say(night, bert, held[0])
    assert all(procs.alive(line["pid"], line["ticks"]) for line in heirs.values()), "or nothing was tried"
    assert len(night.told("begin")) == 2

    os.kill(heirs["0"]["pid"], signal.SIGKILL)
    third = wait_for(lambda: night.told("begin")[2:])[0]
    assert (third["uid"], third["gpu"], third["beside"]) == (bert.uid, "0", [])
    assert night.holder(1)["claim"] == held[1]["claim"]

    anna.sweep("alpha.yaml", "--parallel", "2", "--detach")  # which ends what is left of the run that was lost
    fourth = wait_for(lambda: night.told("begin")[3:])[0]
    assert (fourth["uid"], fourth["gpu"], fourth["beside"]) == (bert.uid, "1", []), (
        "he came before what anna begins anew"
    )
    assert not procs.alive(heirs["1"]["pid"], heirs["1"]["ticks"])
    night.open("all")
    wait_for(lambda: not (alive(anna, "alpha") or alive(bert, "beta")), 40, "the end")
    night.check()
    for person, name in ((anna, "alpha"), (bert, "beta")):
        assert person.status(name)["counts"] == {"done": 2}
