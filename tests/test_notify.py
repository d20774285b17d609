"""The overnight word reaches commands and URLs, and nothing that goes wrong with it reaches the sweep."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sweeper import notify, paths, procs

PAYLOAD = {"name": "digits", "done": 10, "failed": 2, "left": 0, "reason": ""}


PACKAGE = {**os.environ, "PYTHONPATH": str(Path(notify.__file__).parent.parent)}


def order_of(target: str, log: Path, event: str = "finish") -> str:
    """What a process of ours is given by ``start``."""
    return json.dumps({"target": target, "event": event, "payload": PAYLOAD, "log": str(log)})


def wait_for(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError("it did not come about in time")


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "scheduler.log"


# -- commands ------------------------------------------------------------------------------------------------------


def test_a_command_gets_the_summary_and_the_variables(log: Path, tmp_path: Path) -> None:
    command = "cat >told.new; printenv SWEEP_EVENT SWEEP_NAME SWEEP_DONE SWEEP_DIR >>told.new; mv told.new told"
    notify.start(command, "finish", PAYLOAD, log)
    told = wait_for(lambda: read(tmp_path / "told"))
    assert told == f"digits finished: 10 done, 2 failed, 0 left\nfinish\ndigits\n10\n{tmp_path}\n"
    assert not log.exists()


def test_values_are_data(log: Path, tmp_path: Path) -> None:
    reason = "a'; touch x $(touch y) `touch z` \"\n\0é\x1b[31m"
    notify.start("printenv -0 SWEEP_REASON >told.new; mv told.new told", "failure", {**PAYLOAD, "reason": reason}, log)
    told = wait_for(lambda: read(tmp_path / "told"))
    assert told == reason.replace("\0", "") + "\0"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["told"]


def test_it_runs_in_the_environment_of_whoever_launched(log: Path, tmp_path: Path) -> None:
    for number, word in ((2, "old"), (10, "new")):
        variables = {"PATH": os.environ["PATH"], "WORD": word}
        (tmp_path / f"environment-{number}.json").write_text(json.dumps({"variables": variables}))
    notify.start("env >told.new; mv told.new told", "finish", PAYLOAD, log)
    told = wait_for(lambda: read(tmp_path / "told")).splitlines()
    assert "WORD=new" in told
    assert not any(line.startswith("HOME=") for line in told)
    (tmp_path / "environment-11.json").write_text("{half")
    assert notify.environment(tmp_path) == dict(os.environ)


def test_a_failure_is_one_line_of_the_log(log: Path) -> None:
    notify.start("echo first; printf 'no such \\033[31mmailer\\n' >&2; exit 3", "stall", PAYLOAD, log)
    line = wait_for(lambda: read(log))
    assert line.count("\n") == 1
    assert line[19:] == " notify (stall): the command failed, exit status 3: no such  [31mmailer\n"


def children() -> set[int]:
    """This process's children, those that ended and were not waited for included."""
    found = set()
    for pid in procs.pids():
        with contextlib.suppress(OSError):
            if int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.add(pid)
    return found


def test_start_waits_for_nothing_and_leaves_no_child(log: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "gate"
    os.mkfifo(fifo)
    before = children()  # a browser that other tests share, say
    began = time.monotonic()
    notify.start("echo $$ >pid.new; mv pid.new pid; read <gate", "finish", PAYLOAD, log)
    assert time.monotonic() - began < 5  # it would never come back: nobody has written to the gate
    pid = int(wait_for(lambda: read(tmp_path / "pid")))
    assert pid not in procs.descendants(os.getpid())
    assert os.getsid(pid) == pid
    assert not children() - before
    fifo.write_text("go\n")
    wait_for(lambda: procs.start_ticks(pid) is None)
    assert not log.exists()


def test_the_target_is_not_among_the_arguments(log: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    notify.start("echo $PPID >pid.new; mv pid.new pid; read <gate # secret", "finish", PAYLOAD, log)
    pid = int(wait_for(lambda: read(tmp_path / "pid")))
    assert b"secret" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    (tmp_path / "gate").write_text("go\n")
    wait_for(lambda: procs.start_ticks(pid) is None)


def test_a_command_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "COMMAND_SECONDS", 2.0)
    command = "echo $$ >pid; echo still here; trap '' TERM; tail -f /dev/null"
    failure = notify.tell(command, "finish", PAYLOAD, tmp_path)
    assert failure == "the command took too long and was ended: still here"
    assert procs.start_ticks(int(read(tmp_path / "pid"))) is None


def test_the_hard_limit_ends_whatever_hangs(tmp_path: Path) -> None:
    # Not "finish": its report would come first, and the limit must find the command begun on a loaded machine, too.
    order = order_of("echo $$ >pid; exec tail -f /dev/null", tmp_path / "log", "failure")
    code = "from sweeper import notify; notify.HARD_LIMIT = 4.0; raise SystemExit(notify.main())"
    done = subprocess.run([sys.executable, "-c", code], input=order, text=True, env=PACKAGE, timeout=60)
    assert done.returncode == 1
    assert "was ended" in read(tmp_path / "log")
    assert procs.start_ticks(int(read(tmp_path / "pid"))) is None


def test_the_hard_limit_ends_a_server_that_drips(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        order = order_of(f"http://127.0.0.1:{listening.getsockname()[1]}/", tmp_path / "log")
        code = "from sweeper import notify; notify.HARD_LIMIT = 0.5; raise SystemExit(notify.main())"
        done = subprocess.run([sys.executable, "-c", code], input=order, text=True, env=PACKAGE, timeout=15)
    assert done.returncode == 1
    assert read(tmp_path / "log").endswith(" notify (finish): no answer within 0.5 s\n")


def test_a_log_that_cannot_be_written_harms_nobody(tmp_path: Path) -> None:
    order = order_of("exit 1", tmp_path / "gone/log")
    done = subprocess.run(
        [sys.executable, "-m", "sweeper.notify"], input=order, text=True, env=PACKAGE, capture_output=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


# -- URLs ----------------------------------------------------------------------------------------------------------


class Server(http.server.ThreadingHTTPServer):
    """Answers with the statuses that it was given, one a request, and then 200; keeps what was posted."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[tuple[int, str]] = []
        self.posted: list[tuple[str, str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer("POST", json.loads(body))

    def do_GET(self) -> None:
        self.answer("GET", None)

    def answer(self, method: str, body: Any) -> None:
        self.server.posted.append((method, self.path, body))
        status, where = self.server.answers.pop(0) if self.server.answers else (200, "")
        self.send_response(status)
        if where:
            self.send_header("Location", where)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(notify, "PAUSE", 0.01)
    with Server() as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def test_json_is_posted(server: Server, log: Path) -> None:
    notify.start(server.url, "finish", PAYLOAD, log)
    method, path, body = wait_for(lambda: server.posted)[0]
    assert (method, path) == ("POST", "/hook")
    text = "digits finished: 10 done, 2 failed, 0 left"
    assert body == {**PAYLOAD, "event": "finish", "text": text, "content": text}


def test_a_proxy_is_not_asked_about_this_machine(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert notify.tell(server.url, "finish", PAYLOAD, tmp_path) == ""
    assert len(server.posted) == 1


def test_a_server_in_trouble_is_tried_again(server: Server, tmp_path: Path) -> None:
    server.answers = [(503, ""), (500, "")]
    assert notify.tell(server.url, "finish", PAYLOAD, tmp_path) == ""
    assert len(server.posted) == 3
    server.answers = [(503, "")] * 3
    assert "answered 503" in notify.tell(server.url, "finish", PAYLOAD, tmp_path)
    assert len(server.posted) == 6


def test_a_refusal_is_final_and_the_address_stays_secret(server: Server, tmp_path: Path) -> None:
    server.answers = [(404, "")]
    failure = notify.tell(server.url, "finish", PAYLOAD, tmp_path)
    assert failure == "http://127.0.0.1: answered 404 Not Found"
    assert len(server.posted) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_followed_with_what_was_posted(server: Server, tmp_path: Path, status: int) -> None:
    server.answers = [(status, "/elsewhere")]
    assert notify.tell(server.url, "finish", PAYLOAD, tmp_path) == ""
    assert [(method, path) for method, path, _ in server.posted] == [("POST", "/hook"), ("POST", "/elsewhere")]
    assert server.posted[0][2] == server.posted[1][2]


def test_see_other_is_only_looked_at(server: Server, tmp_path: Path) -> None:
    server.answers = [(303, "/thanks")]
    assert notify.tell(server.url, "finish", PAYLOAD, tmp_path) == ""
    assert [(method, path) for method, path, _ in server.posted] == [("POST", "/hook"), ("GET", "/thanks")]


@pytest.mark.parametrize("where", ["http://198.51.100.7/", "ftp://localhost/x", "file:///etc/passwd"])
def test_a_redirect_to_another_scheme_is_refused(server: Server, tmp_path: Path, where: str) -> None:
    server.answers = [(307, where)]
    failure = notify.tell(server.url, "finish", PAYLOAD, tmp_path)
    assert "is refused" in failure or "not allowed" in failure
    assert len(server.posted) == 1


def test_nobody_there(tmp_path: Path, server: Server) -> None:
    failure = notify.tell("http://127.0.0.1:9/x?token=secret", "finish", PAYLOAD, tmp_path)
    assert "refused" in failure.lower()
    assert failure.endswith("(3 tries)")
    assert "secret" not in failure


@pytest.mark.parametrize(
    "url", ["http://example.org/", "ftp://localhost/", "https:///x", "http://[half", "file:///etc/passwd"]
)
def test_what_may_not_be_posted_to(url: str) -> None:
    assert notify.is_url(url)
    assert notify.refusal(url)


@pytest.mark.parametrize(
    "url", ["https://example.org/", "http://localhost:8000/", "http://127.0.0.1/", "http://[::1]:80/"]
)
def test_what_may_be_posted_to(url: str) -> None:
    assert notify.refusal(url) == ""


# -- words ---------------------------------------------------------------------------------------------------------


def test_summaries() -> None:
    assert notify.summary("finish", {**PAYLOAD, "left": 3, "reason": "canary: the first run failed"}) == (
        "digits stopped: 10 done, 2 failed, 3 left\ncanary: the first run failed"
    )
    assert notify.summary("failure", {**PAYLOAD, "run": 7, "outcome": "failed", "reason": "exit status 1"}) == (
        "digits: run 7 is the first to fail: exit status 1\n10 done, 2 failed, 0 left"
    )
    stall = notify.summary("stall", {**PAYLOAD, "run": 7, "seconds": 1830})
    assert stall == "digits: run 7 has printed nothing for 30 min\n10 done, 2 failed, 0 left"
    stall = notify.summary("stall", {**PAYLOAD, "run": 7, "seconds": 2})
    assert stall.startswith("digits: run 7 has printed nothing for 2 s\n")
    held = notify.summary("stall", {**PAYLOAD, "run": 7, "seconds": 1830, "reason": "the log cannot be written"})
    assert held.startswith("digits: run 7 is held up for 30 min: the log cannot be written\n")
    assert [notify.lasting(seconds) for seconds in (89, 90, 3600, 7500)] == ["89 s", "2 min", "1 h", "2 h 5 min"]
    assert notify.summary("finish", {**PAYLOAD, "report": "best: 1\ntime: 2"}).endswith("0 left\nbest: 1\ntime: 2")


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """The folder of a sweep that has run: two runs and what they printed."""
    file = tmp_path / "digits.yaml"
    file.write_text("command: 'echo val_acc={acc}'\ngrid: {acc: [0.5, 0.75]}\ngpus: 0\nmaximize: val_acc\n")
    env = {**PACKAGE, "XDG_STATE_HOME": str(tmp_path / "state"), "SWEEP_RUNS_DIR": str(tmp_path / "runs")}
    done = subprocess.run(
        [sys.executable, "-m", "sweeper", str(file), "--serial", "--here"],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return tmp_path / "runs/digits"


def test_a_finished_sweep_brings_its_report(sweep: Path) -> None:
    notify.start("cat >told.new; printenv SWEEP_BEST >>told.new; mv told.new told", "finish", PAYLOAD, sweep / "log")
    told = wait_for(lambda: read(sweep / "told")).splitlines()
    assert told[0] == "digits finished: 10 done, 2 failed, 0 left"
    assert told[-1].startswith("val_acc 0.75 ")
    assert [line.split(maxsplit=1)[1] for line in told if line.startswith("best:")] == [told[-1]]
    assert "acc" in "\n".join(told[2:-1])


@pytest.mark.parametrize(
    ("command", "says"),
    [("echo {x}", "no metric in any log"), ("echo {x} val_acc=0.5; exit 3", "no run with a value is ranked")],
)
def test_a_sweep_without_metrics_has_no_best(tmp_path: Path, command: str, says: str) -> None:
    file = tmp_path / "mute.yaml"
    file.write_text(f"command: '{command}'\ngrid: {{x: [a, b]}}\ngpus: 0\n")
    env = {**PACKAGE, "XDG_STATE_HOME": str(tmp_path / "state"), "SWEEP_RUNS_DIR": str(tmp_path / "runs")}
    typed = [sys.executable, "-m", "sweeper", str(file), "--serial", "--here"]
    done = subprocess.run(typed, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert done.returncode == int("exit" in command)
    found = notify.report(tmp_path / "runs/mute")
    assert says in found["report"]
    assert found["best"] == ""


def test_a_word_that_failed_is_remembered_until_one_arrives(tmp_path: Path) -> None:
    unsent = paths.SweepDir(tmp_path).unsent
    notify.start("echo no such luck; exit 3", "failure", PAYLOAD, tmp_path / "log")
    assert wait_for(lambda: read(unsent)) == "failure: the command failed, exit status 3: no such luck\n"
    notify.start("true", "stall", PAYLOAD, tmp_path / "log")
    wait_for(lambda: not unsent.exists())


def test_no_report_is_no_reason_to_keep_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert notify.report(tmp_path) == {}
    monkeypatch.setattr(notify, "REPORT_SECONDS", 0.0)
    assert notify.report(tmp_path) == {}


def test_variables_are_safe_names_of_bounded_length(tmp_path: Path) -> None:
    found = notify.variables("finish", {"a-b": None, "params": {"lr": 0.1}, "long": "é" * 100_000}, tmp_path)
    assert found["SWEEP_A_B"] == ""
    assert json.loads(found["SWEEP_PARAMS"]) == {"lr": 0.1}
    assert len(found["SWEEP_LONG"].encode()) <= notify.VALUE_BYTES


def test_a_log_of_ones_own(log: Path) -> None:
    notify.start("exit 1", "finish", PAYLOAD, log)
    wait_for(lambda: read(log))
    assert stat.S_IMODE(log.stat().st_mode) & 0o022 == 0
