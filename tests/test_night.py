"""A night without its user: canaries, limits on failures, retries, the overnight word, GPUs through a whole sweep."""

from __future__ import annotations

import http.server
import json
import os
import shlex
import shutil
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sweeper import control, lease, model
from sweeper.model import GpuRequest
from sweeper.store import Store, counting, open_store
from sweeper.supervisor.leasing import roomier
from tests.conftest import Workshop, end_all, processes_of, say, wait_for

if TYPE_CHECKING:
    from nvml_standin import StandIn

pytest_plugins = ["nvml_standin"]
GB = 1_000_000_000
TALLY = "echo start {x} $SWEEP_ATTEMPT >> tally;"
SAME_ERROR = "echo 'ValueError: bad flag'; exit 3"


def sweep_file(work: str, grid: str = "[1, 2, 3, 4]", **keys: str) -> str:
    lines = [f"command: {json.dumps(f'{TALLY} {work}')}", f"grid: {{x: {grid}}}"]
    return "\n".join([*lines, *(f"{key}: {value}" for key, value in keys.items())]) + "\n"


def started(shop: Workshop) -> list[str]:
    return [line for line in shop.lines() if line.startswith("start")]


def why(shop: Workshop) -> str:
    now: control.Status = shop.ask(lambda store: control.status(shop.sweep, store))
    return now.why


# -- canary and max_failures ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("canary", "parallel"), [(1, 3), (2, 3), (2, None)])
def test_a_sweep_whose_canaries_all_fail_the_same_way_stops(shop: Workshop, canary: int, parallel: int | None) -> None:
    counts = shop.run(sweep_file(SAME_ERROR, canary=str(canary)), parallel)
    assert counts == {"failed": canary, "queued": 4 - canary}
    assert len(started(shop)) == canary
    assert why(shop).startswith("canary: ")
    assert "bad flag" in why(shop)
    assert why(shop) in shop.tell()


def test_canaries_that_fail_differently_prove_nothing_against_the_rest(shop: Workshop) -> None:
    work = "if [ {x} -lt 3 ]; then echo Error: $(if [ {x} = 1 ]; then echo one; else echo two; fi); exit {x}; fi"
    counts = shop.run(sweep_file(work, canary="2"), 2)
    assert counts == {"failed": 2, "done": 2}


def test_a_canary_goes_alone_and_then_all_at_full_width(shop: Workshop) -> None:
    work = "if [ {x} = 1 ]; then while [ ! -e one ]; do sleep 0.02; done; fi; while [ ! -e go ]; do sleep 0.02; done"
    shop.launch(sweep_file(work, canary="1"), 3)
    wait_for(lambda: len(started(shop)) == 1)
    wait_for(lambda: shop.state(1) == model.RUNNING)
    assert not wait_briefly(lambda: len(started(shop)) > 1)
    (shop.folder / "go").touch()
    (shop.folder / "one").touch()
    assert shop.finish() == {"done": 4}


def wait_briefly(condition: Callable[[], Any], seconds: float = 0.5) -> bool:
    """Whether it comes true within a time in which it must not."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return False


def test_after_the_canary_the_width_is_full(shop: Workshop) -> None:
    work = "if [ {x} -gt 1 ]; then while [ ! -e go ]; do sleep 0.02; done; fi"
    shop.launch(sweep_file(work, canary="1"), 3)
    wait_for(lambda: len(started(shop)) == 4)
    (shop.folder / "go").touch()
    assert shop.finish() == {"done": 4}


def test_a_canary_that_is_tried_again_counts_once(shop: Workshop) -> None:
    counts = shop.run(sweep_file("[ $SWEEP_ATTEMPT = 2 ]", canary="1", retries="1"), 2)
    assert counts == {"done": 4}


def test_a_stopped_sweep_goes_on_when_it_is_launched_again(shop: Workshop) -> None:
    shop.run(sweep_file("[ -e mended ]", canary="1"), 2)
    assert why(shop).startswith("canary")
    (shop.folder / "mended").touch()
    assert shop.run(parallel=2) == {"done": 4}


@pytest.mark.parametrize("parallel", [1, None])
def test_max_failures_stops_the_sweep(shop: Workshop, parallel: int | None) -> None:
    counts = shop.run(sweep_file("[ {x} = 1 ]", grid="[1, 2, 3, 4, 5, 6]", max_failures="2"), parallel)
    assert (counts["done"], counts["failed"]) == (1, 2)
    assert counts.get("queued", 0) + counts.get("stopped", 0) == 3  # the next may have begun, and is stopped then
    assert why(shop).startswith("max_failures: 2 runs did not end well")


def until(name: str) -> str:
    return f"while [ ! -e {name} ]; do sleep 0.02; done"


def kill_scheduler(shop: Workshop) -> None:
    """With KILL, while runs are in flight; nobody follows it until somebody goes on with the sweep."""
    os.kill(shop.scheduler(), signal.SIGKILL)
    wait_for(lambda: not shop.alive())


def test_canaries_that_are_tried_again_are_alone_until_their_last_try(shop: Workshop) -> None:
    counts = shop.run(sweep_file(f"sleep 0.1; {SAME_ERROR}", canary="2", retries="2"), 4)
    assert counts == {"failed": 2, "queued": 2}
    assert sorted(started(shop)) == [f"start {run} {attempt}" for run in (1, 2) for attempt in (1, 2, 3)]


def test_after_a_stop_by_its_canary_the_next_run_goes_alone_again(shop: Workshop) -> None:
    shop.run(sweep_file(f"[ {{x}} = 1 ] && exit 3; {until('go')}; [ {{x}} != 2 ]", canary="1"), 3)
    assert why(shop).startswith("canary: run 1,")
    assert control.resume(shop.sweep)
    wait_for(lambda: len(started(shop)) == 2)
    assert not wait_briefly(lambda: len(started(shop)) > 2)
    (shop.folder / "go").touch()
    assert shop.finish() == {"failed": 2, "queued": 2}
    assert why(shop).startswith("canary: run 2,")
    assert control.resume(shop.sweep)
    assert shop.finish() == {"failed": 2, "done": 2}


def test_canaries_wait_for_what_an_earlier_launch_left_in_flight(shop: Workshop) -> None:
    """Or their failing would end runs that may be half through."""
    text = sweep_file(f"[ {{x}} -lt 3 ] || exit 3; {until('go')}")
    shop.launch(text, 2)
    wait_for(lambda: len(started(shop)) == 2)
    kill_scheduler(shop)
    shop.launch(f"{text}canary: 1\n", 3)
    wait_for(lambda: shop.ask(Store.counts).get("running") == 2)
    assert not wait_briefly(lambda: len(started(shop)) > 2)
    (shop.folder / "go").touch()
    assert shop.finish() == {"done": 2, "failed": 2}


def test_a_canary_that_is_stopped_is_replaced(shop: Workshop) -> None:
    shop.launch(sweep_file(f"[ {{x}} = 1 ] && {until('never')}; {SAME_ERROR}", canary="1"), 3)
    wait_for(lambda: shop.state(1) == model.RUNNING)
    control.stop(shop.sweep, [1])
    assert shop.finish() == {"stopped": 1, "failed": 1, "queued": 2}
    assert why(shop).startswith("canary: run 2,")


def test_a_new_scheduler_knows_the_canaries_of_the_one_that_was_killed(shop: Workshop) -> None:
    shop.launch(sweep_file(f"[ {{x}} = 1 ] || {until('go')}; {SAME_ERROR}", canary="2"), 1)
    wait_for(lambda: len(started(shop)) == 2)
    wait_for(lambda: shop.state(1) == model.FAILED)
    kill_scheduler(shop)
    assert control.resume(shop.sweep)
    (shop.folder / "go").touch()
    assert shop.finish() == {"failed": 2, "queued": 2}
    assert len(started(shop)) == 2
    assert "all of the first 2 runs failed the same way" in why(shop)


def test_a_scheduler_that_was_killed_before_it_could_stop_the_sweep_is_made_up_for(shop: Workshop) -> None:
    """Its canary fails while nobody schedules, so that nothing but the queue tells the next one."""
    shop.launch(sweep_file(f"{until('go')}; {SAME_ERROR}", canary="1"), 2)
    wait_for(lambda: len(started(shop)) == 1)
    kill_scheduler(shop)
    (shop.folder / "go").touch()
    wait_for(lambda: shop.outcome(1) is not None)
    assert control.resume(shop.sweep)
    assert shop.finish() == {"failed": 1, "queued": 3}
    assert why(shop).startswith("canary: ")


def test_failures_are_counted_over_a_killed_scheduler_and_the_first_is_told_once(shop: Workshop) -> None:
    work = f"[ {{x}} -lt 3 ] || {until('go')}; exit 3"
    text = sweep_file(
        work, "[1, 2, 3, 4, 5]", max_failures="3", notify=json.dumps("echo $SWEEP_EVENT $SWEEP_RUN >> told")
    )
    shop.launch(text, 1)
    wait_for(lambda: len(started(shop)) == 3)
    wait_for(lambda: shop.ask(Store.counts).get("failed") == 2)
    kill_scheduler(shop)
    assert control.resume(shop.sweep)
    (shop.folder / "go").touch()
    assert shop.finish() == {"failed": 3, "queued": 2}
    assert why(shop).startswith("max_failures: 3 runs did not end well; the last, run 3: ")
    wait_for(lambda: {"failure", "finish"} <= {line.split()[0] for line in shop.lines("runs/s/told")}, 60)
    assert [line.split()[0] for line in shop.lines("runs/s/told")].count("failure") == 1


def test_what_is_resumed_or_launched_begins_a_new_count(shop: Workshop) -> None:
    text = sweep_file("exit 3", "[1, 2, 3, 4, 5, 6, 7]", max_failures="2")
    assert shop.run(text, 1) == {"failed": 2, "queued": 5}
    assert control.resume(shop.sweep)
    assert shop.finish() == {"failed": 4, "queued": 3}
    assert shop.run(parallel=1) == {"failed": 2, "queued": 5}  # again the first two, as every launch does


def test_runs_that_are_lost_again_and_again_count_as_failures(shop: Workshop) -> None:
    text = sweep_file(
        "sleep 0.2; kill -9 $PPID; sleep 60",
        max_failures="2",
        notify=json.dumps("echo $SWEEP_RUN >> told-$SWEEP_EVENT"),
    )
    assert shop.run(text, 1) == {"failed": 2, "queued": 2}
    assert why(shop).startswith("max_failures: 2 runs did not end well; the last, run ")
    assert why(shop).endswith(": lost 3 times in a row")
    wait_for(lambda: (shop.sweep.path / "told-failure").exists())


# -- retries -------------------------------------------------------------------------------------------------------


def test_a_failed_run_is_tried_again_so_often_and_no_oftener(shop: Workshop) -> None:
    counts = shop.run(sweep_file("[ {x} = 1 ] || [ $SWEEP_ATTEMPT = {x} ]", grid="[1, 2, 3, 9]", retries="2"), 2)
    assert counts == {"done": 3, "failed": 1}
    assert sorted(started(shop)) == sorted(
        ["start 1 1", "start 2 1", "start 2 2", "start 3 1", "start 3 2", "start 3 3"]
        + [f"start 9 {attempt}" for attempt in (1, 2, 3)]
    )


def test_what_took_too_long_is_tried_again_too(shop: Workshop) -> None:
    work = "[ $SWEEP_ATTEMPT = 2 ] || sleep 60"
    counts = shop.run(sweep_file(work, grid="[1]", retries="1", timeout="2s", grace="1s"), 1)
    assert counts == {"done": 1}
    assert started(shop) == ["start 1 1", "start 1 2"]
    assert "timeout" in shop.tell()


# -- the overnight word --------------------------------------------------------------------------------------------


def told(shop: Workshop, event: str) -> dict[str, str]:
    """What the command was told, once it is all there."""
    file = shop.folder / f"told-{event}"
    wait_for(lambda: file.exists() and file.read_text().endswith("END\n"), 60, f"the word of {event}; {shop.tell()}")
    lines = file.read_text().splitlines()
    return {"summary": "\n".join(lines[3:-1]), "name": lines[0], "counts": lines[1], "more": lines[2]}


def teller(shop: Workshop) -> str:
    place = shlex.quote(str(shop.folder))
    return (
        "{ echo $SWEEP_NAME; echo $SWEEP_DONE $SWEEP_FAILED $SWEEP_LEFT; echo $SWEEP_RUN $SWEEP_SECONDS; cat; "
        f"echo END; }} > {place}/told-$SWEEP_EVENT"
    )


def test_a_command_hears_of_the_first_failure_and_of_the_end(shop: Workshop) -> None:
    work = "echo loss=0.{x}; [ {x} -lt 3 ]"
    shop.run(sweep_file(work, notify=json.dumps(teller(shop))), None)
    failure, finish = told(shop, "failure"), told(shop, "finish")
    assert failure["name"] == finish["name"] == "s"
    assert failure["more"].split() == ["3"]
    assert "run 3 is the first to fail" in failure["summary"]
    assert finish["counts"] == "2 2 0"
    assert "s finished: 2 done, 2 failed, 0 left" in finish["summary"]
    assert "loss" in finish["summary"]  # the report


def test_the_first_failure_is_the_one_that_ended_first_whoever_is_heard_first(shop: Workshop) -> None:
    """Of a chain, too: the next run may have failed before the outcome of the one before it is on disk."""
    shop.run(sweep_file("[ {x} = 1 ]"), None)
    store = open_store(shop.sweep)
    with store:
        assert counting.first_failure(store) == 2
        store.connection.execute("UPDATE runs SET ended = ended - 3600 WHERE number = 3")
        assert counting.first_failure(store) == 3
        counting.begin(store)
        assert counting.first_failure(store) is None
    store.close()


def test_a_run_that_prints_nothing_is_told_of_and_goes_on(shop: Workshop) -> None:
    work = f"echo begins; while [ ! -e told-stall ]; do sleep 0.02; done; {TALLY}"
    shop.run(sweep_file(work, grid="[1]", stall="1s", notify=json.dumps(teller(shop))), None)
    assert told(shop, "stall")["more"].split()[0] == "1"
    assert "run 1 has printed nothing" in shop.tell()
    assert shop.counts() == {"done": 1}


@pytest.mark.parametrize("notify", ["touch told; exec sleep 1000", "touch told; exit 9", "touch told; kill -9 $$"])
def test_a_word_that_hangs_or_fails_holds_nothing_up(shop: Workshop, notify: str) -> None:
    counts = shop.run(sweep_file("[ {x} = 2 ]", "[1, 2]", notify=json.dumps(notify)), 2)
    assert counts == {"done": 1, "failed": 1}  # and the sweep has come to its end, while the word hangs
    wait_for(lambda: (shop.sweep.path / "told").exists())
    if "sleep" not in notify:
        wait_for(lambda: "notify (failure): the command failed" in shop.tell())
        wait_for(lambda: "notify did not work: f" in say("status", "s", cwd=shop.folder, check=0).text)
    wait_for(lambda: (shop.sweep.path / "told").exists() and _talks(shop), 60)
    end_all(processes_of(shop.folder))  # it would end by its own limit


def _talks(shop: Workshop) -> bool:
    """Whether the last word has got as far as its command."""
    if "notify (finish)" in shop.tell():
        return True
    return any(b"SWEEP_EVENT=finish" in _environment(pid) for pid in processes_of(shop.folder))


def _environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


class Hearer:
    """A server on this machine that keeps what is posted to it."""

    def __init__(self) -> None:
        self.posted: list[Any] = []
        hearer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hearer.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                return

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)

    @property
    def address(self) -> str:
        return f"localhost:{self.server.server_address[1]}/hook?token=secret"

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def hearer() -> Iterator[Hearer]:
    found = Hearer()
    found.thread.start()
    yield found
    found.close()


def test_a_url_hears_of_the_failure_and_the_end(shop: Workshop, hearer: Hearer) -> None:
    shop.run(sweep_file("[ {x} -lt 4 ]", notify=f"http://{hearer.address}"), None)
    wait_for(lambda: len(hearer.posted) == 2, 60, shop.tell())
    words = {word["event"]: word for word in hearer.posted}
    assert words["failure"]["run"] == 4
    assert (words["finish"]["done"], words["finish"]["failed"], words["finish"]["left"]) == (3, 1, 0)
    assert words["finish"]["text"].startswith("s finished: 3 done, 1 failed")


def test_a_server_with_a_certificate_of_its_own_making_is_told_nothing(shop: Workshop, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        shlex.split(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost "
            f"-keyout {shlex.quote(str(key))} -out {shlex.quote(str(certificate))}"
        ),
        check=True,
        capture_output=True,
    )
    hearer = Hearer()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    hearer.server.socket = context.wrap_socket(hearer.server.socket, server_side=True)
    hearer.server.handle_error = lambda *_: None  # type: ignore[method-assign]
    hearer.thread.start()
    try:
        shop.run(sweep_file("true", grid="[1]", notify=f"https://{hearer.address}"), None)
        wait_for(lambda: "notify (finish)" in shop.tell(), 60, shop.tell())
    finally:
        hearer.close()
    assert hearer.posted == []
    line = next(line for line in shop.tell().splitlines() if "notify (finish)" in line)
    assert "certificate verify failed" in line
    assert "tries" not in line, "it will be no better in a moment"
    assert "secret" not in line


# -- GPUs through a whole sweep ------------------------------------------------------------------------------------


@pytest.fixture
def gpus(shop: Workshop, machine: StandIn) -> tuple[Workshop, StandIn]:
    """A sweep on a machine with four GPUs; the private tmux server starts in an environment that shows them."""
    return shop, machine


SEEN = "echo $CUDA_VISIBLE_DEVICES $SWEEP_RUN $SWEEP_ATTEMPT >> seen;"


def gpu_file(work: str = "true", grid: str = "[1, 2, 3, 4]", **keys: str) -> str:
    return sweep_file(f"{SEEN} {work}", grid, **{"gpus": "1", **keys})


def seen(shop: Workshop) -> list[list[str]]:
    return [line.split() for line in shop.lines("seen")]


def test_runs_at_once_have_gpus_of_their_own(gpus: tuple[Workshop, StandIn]) -> None:
    shop, _ = gpus
    shop.launch(gpu_file(until("go"), "[1, 2, 3, 4, 5, 6]"), 6)
    wait_for(lambda: len(seen(shop)) == 4)
    wait_for(lambda: len(shop.ask(lambda store: store.records([model.WAITING]))) == 2)
    assert sorted(words[0] for words in seen(shop)) == ["0", "1", "2", "3"]
    (shop.folder / "go").touch()
    assert shop.finish() == {"done": 6}


@pytest.mark.parametrize(
    ("keys", "first"),
    [
        ({"keep_free": "3"}, 1),
        ({"keep_free": "1"}, 3),
        ({"per_gpu": "2", "gpus_allowed": "[2]"}, 2),
        ({"gpus": "2"}, 2),
        ({"gpus": "all"}, 1),
        ({"gpus_allowed": "[1, 3]"}, 2),
    ],
)
def test_so_many_start_and_the_rest_waits(gpus: tuple[Workshop, StandIn], keys: dict[str, str], first: int) -> None:
    shop, _ = gpus
    shop.launch(gpu_file(until("go"), "[1, 2, 3, 4]", **keys), 4)
    wait_for(lambda: len(seen(shop)) == first, what=shop.tell())
    wait_for(lambda: len(shop.ask(lambda store: store.records([model.WAITING]))) == 4 - first)
    assert len(seen(shop)) == first
    wanted = {"all": 4, "2": 2}.get(keys.get("gpus", ""), 1)
    assert all(len(words[0].split(",")) == wanted for words in seen(shop))
    if "gpus_allowed" in keys:
        assert {words[0] for words in seen(shop)} <= set(keys["gpus_allowed"].strip("[]").split(", "))
    (shop.folder / "go").touch()
    assert shop.finish() == {"done": 4}


def test_memory_that_is_asked_for_must_be_free(gpus: tuple[Workshop, StandIn]) -> None:
    shop, machine = gpus
    for gpu, used in zip(machine.gpus, (30 * GB, 35 * GB, 10 * GB, 39 * GB), strict=True):
        gpu.used = used
    machine.save()
    counts = shop.run(gpu_file(grid="[1, 2]", gpu_memory="20GB", busy_above="100GB"), 2)
    assert counts == {"done": 2}
    assert {words[0] for words in seen(shop)} == {"2"}


def test_a_run_that_ran_out_of_memory_is_tried_alone_where_more_is_free(gpus: tuple[Workshop, StandIn]) -> None:
    shop, machine = gpus
    for gpu, used in zip(machine.gpus, (10 * GB, 5 * GB, 30 * GB, 35 * GB), strict=True):
        gpu.used = used
    machine.save()
    work = (
        "if [ {x} = 1 ] && [ $SWEEP_ATTEMPT = 1 ]; then echo 'torch.OutOfMemoryError: CUDA out of memory.'; exit 1; fi"
    )
    text = gpu_file(work, "[1]", retries_oom="1", per_gpu="4", busy_above="100GB", gpus_allowed="[0, 1, 2, 3]")
    counts = shop.run(text, 1)
    assert counts == {"done": 1}
    run = shop.run_dir(1)
    assert run is not None
    job = json.loads(run.job.read_text())
    first = json.loads(run.attempt(1).read_text())
    assert job["gpus"]["per_gpu"] == 1
    assert job["gpus"]["more_than"] == first["gpu_free"] > 0
    assert [words[0] for words in seen(shop)] == ["0", "1"]  # where more is free than on the first


def test_memory_runs_out_so_often_and_no_oftener(gpus: tuple[Workshop, StandIn]) -> None:
    shop, _ = gpus
    counts = shop.run(gpu_file("echo CUDA out of memory; exit 1", "[1]", retries_oom="2"), 1)
    assert counts == {"out_of_memory": 1}
    assert len(seen(shop)) == 3


@pytest.mark.parametrize(("count", "totals"), [("2", (40, 80, 40, 40)), ("all", (80, 40, 80, 80))])
def test_no_more_is_asked_for_than_so_many_gpus_have(
    gpus: tuple[Workshop, StandIn], count: str, totals: tuple[int, ...]
) -> None:
    shop, machine = gpus
    for gpu, total in zip(machine.gpus, totals, strict=True):
        gpu.total = total * GB
    machine.save()
    work = "if [ $SWEEP_ATTEMPT = 1 ]; then echo CUDA out of memory; exit 1; fi"
    assert shop.run(gpu_file(work, "[1]", gpus=count, retries_oom="1"), 1) == {"done": 1}, shop.tell()
    assert len(seen(shop)) == 2


@pytest.mark.parametrize(
    ("had", "total", "wanted"), [(30.0, 40, 31.5), (39.9, 40, 36.1), (39.9, 80, 41.895), (7.4, 8, 7.03)]
)
def test_what_is_asked_for_after_memory_ran_out(machine: StandIn, had: float, total: int, wanted: float) -> None:
    """More than it had where there is more; else a little less, or a desktop that grew would keep it waiting."""
    for gpu in machine.gpus[1:]:
        gpu.total = total * GB
    machine.save()
    request = GpuRequest(count=3, more_than=round(had * GB))
    assert roomier(request, {}).memory == round(wanted * GB)


# -- a colleague in the queue --------------------------------------------------------------------------------------


class Colleague:
    """Somebody who waits for a GPU, in a thread, and gives it back at once; ``served`` says when he had it."""

    def __init__(self, shop: Workshop, allowed: int) -> None:
        self.shop = shop
        self.served: list[int] = []
        self.waiter = lease.Waiter(GpuRequest(count=1, allowed=(allowed,)), {"command": "colleague"})
        self.waiting = self.waiter.try_acquire() is None
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._wait)
        self.thread.start()

    def _wait(self) -> None:
        while not self.done.wait(0.02):
            found = self.waiter.try_acquire()
            if found is not None:
                self.served.append(len(seen(self.shop)))
                found.close()
                return

    def close(self) -> None:
        self.done.set()
        self.thread.join()
        self.waiter.close()


@pytest.mark.parametrize(("hold", "served"), [("true", 3), ("false", 1)])
def test_a_chain_that_holds_lets_nobody_in_between(gpus: tuple[Workshop, StandIn], hold: str, served: int) -> None:
    shop, _ = gpus
    shop.launch(gpu_file(until("go"), "[1, 2, 3]", hold=hold, gpus_allowed="[1]"), None)
    wait_for(lambda: len(seen(shop)) == 1, what=shop.tell())
    colleague = Colleague(shop, 1)
    try:
        assert colleague.waiting
        (shop.folder / "go").touch()
        assert shop.finish() == {"done": 3}
        wait_for(lambda: colleague.served)
    finally:
        colleague.close()
    assert colleague.served == [served]
    assert [words[0] for words in seen(shop)] == ["1"] * 3
