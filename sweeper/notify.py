"""The overnight word: tells a command or a URL that a sweep finished, first failed or stalls, by a process of its own.

``start`` returns at once and the process that it leaves behind answers to nobody: whatever goes wrong in it costs one
line in a log, never a run. The target and what it is told reach that process by a descriptor and never by its
arguments, which other users can read: the address of a webhook is as good as a password.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from types import FrameType
from typing import IO, Any
from urllib.parse import urlsplit

from sweeper import paths

COMMAND_SECONDS = 60.0
POST_SECONDS = 20.0  # of one try
TRIES = 3
PAUSE = 2.0  # seconds before the second try, twice as many before the third
REPORT_SECONDS = 30.0  # that the report may take; without it there is less to tell
HARD_LIMIT = 180.0  # seconds for all of it
VALUE_BYTES = 32_000  # of a variable; the kernel takes 128 kB at most

# The shell goes away at once and leaves the process to init, so that whoever calls start has no child to wait for.
_LAUNCH = 'exec 3<&0; "$@" <&3 3<&- &'
_REPORT = "import sys; sys.path[:0] = sys.argv.pop(1).split(':'); from sweeper.cli import main; sys.exit(main())"
_ENTER = "import sys; sys.path[:0] = sys.argv[1].split(':'); from sweeper.notify import main; sys.exit(main())"


class _LimitError(Exception):
    """The hard limit is over. Not a TimeoutError: that would pass for a try that failed."""


def start(target: str, event: str, payload: Mapping[str, Any], log: Path) -> None:
    """Tell ``target`` of ``event``, in a detached process; returns at once and raises nothing for a bad target.

    ``target`` is an http(s) URL, to which JSON is posted, or a command for bash. It gets the summary on standard input
    and each item of ``payload`` as a variable (``done`` as SWEEP_DONE), beside SWEEP_EVENT and SWEEP_DIR, which is the
    folder of ``log``; it runs there, in the environment of whoever launched the sweep. When a sweep finishes, its
    report is in the summary, and the line about the best in SWEEP_BEST. Failures are lines in ``log``.
    """
    order = {"target": target, "event": event, "payload": dict(payload), "log": os.fspath(log)}
    try:
        descriptor = os.memfd_create("sweep-notify")
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            json.dump(order, file, default=str)
            file.flush()
            file.seek(0)
            subprocess.run(
                ["/bin/sh", "-c", _LAUNCH, "sh", sys.executable, "-I", "-S", "-c", _ENTER, paths.import_path()],
                stdin=file,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
                check=True,
            )
    except (OSError, subprocess.SubprocessError) as error:
        _note(log, event, f"could not be started: {error}")
        _remember(paths.SweepDir(log.parent).unsent, event, f"could not be started: {error}")


def main() -> int:
    """``python -m sweeper.notify < order``: carry out what ``start`` was told. Exit status 1 where that failed."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)  # the scheduler may have left them ignored
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    order = json.load(sys.stdin)
    log = Path(order["log"])
    signal.signal(signal.SIGALRM, _too_late)
    signal.setitimer(signal.ITIMER_REAL, HARD_LIMIT, 5.0)
    try:
        payload = order["payload"]
        if order["event"] == "finish":
            payload |= report(log.parent)
        failure = tell(order["target"], order["event"], payload, log.parent)
    except _LimitError as error:
        failure = str(error)
    signal.setitimer(signal.ITIMER_REAL, 0)
    if failure:
        _note(log, order["event"], failure)
    _remember(paths.SweepDir(log.parent).unsent, order["event"], failure)
    return 1 if failure else 0


def _too_late(number: int, frame: FrameType | None) -> None:
    raise _LimitError(f"no answer within {HARD_LIMIT:g} s")


def tell(target: str, event: str, payload: Mapping[str, Any], folder: Path) -> str:
    """Tell ``target``, however long it takes, and give in one line what went wrong, '' where nothing did."""
    if is_url(target):
        return _post(target, event, payload)
    return _run(target, event, payload, folder)


def is_url(target: str) -> bool:
    return bool(re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", target))


def summary(event: str, payload: Mapping[str, Any]) -> str:
    """What happened, for people: a line, and a second one with the counts where that says more."""
    name, run, reason = payload.get("name", "sweep"), payload.get("run"), payload.get("reason", "")
    done, failed, left = (int(payload.get(key) or 0) for key in ("done", "failed", "left"))
    counts = f"{done} done, {failed} failed, {left} left"
    if event == "finish":
        how = "stopped" if left or reason else "finished"
        lines = [f"{name} {how}: {counts}", reason]
    elif event == "failure":
        lines = [f"{name}: run {run} is the first to fail: {reason or payload.get('outcome', '')}", counts]
    elif event == "stall":
        since = lasting(float(payload.get("seconds") or 0))
        what = f"is held up for {since}: {reason}" if reason else f"has printed nothing for {since}"
        lines = [f"{name}: run {run} {what}", counts]
    else:
        lines = [f"{name}: {event}", counts]
    told = str(payload.get("report", "")).splitlines()
    if told and told[0].startswith(f"{name}: "):  # the same counts again
        del told[0]
    return "\n".join(line for line in (*lines, *told) if line)


def lasting(seconds: float) -> str:
    """``45 s``, ``30 min``, ``2 h 5 min``: as exact as one wants to know it."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, rest = divmod(minutes, 60)
    return f"{minutes} min" if not hours else f"{hours} h {rest} min" if rest else f"{hours} h"


def report(folder: Path) -> dict[str, str]:
    """What ``sweep report`` says of the sweep in ``folder``: all of it, and the line about the best, '' without one."""
    command = [sys.executable, "-I", "-S", "-X", "utf8", "-c", _REPORT, paths.import_path()]
    try:
        done = subprocess.run(
            [*command, "report", os.fspath(folder), "--top", "10"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1"},
            timeout=REPORT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    lines = done.stdout.strip().splitlines()
    best = next((line.partition(": ")[2].strip() for line in lines if line.startswith("best: ")), "")
    best = "" if best.startswith(("no metric ", "no run ")) else best
    return {"report": "\n".join(lines), "best": best} if lines else {}


def variables(event: str, payload: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """The payload as a command gets it."""
    found = {"SWEEP_EVENT": _text(event), "SWEEP_DIR": os.fspath(folder)}
    for key, value in payload.items():
        found["SWEEP_" + re.sub(r"[^A-Z0-9_]", "_", key.upper())] = _text(value)
    return found


def _text(value: Any) -> str:
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.replace("\0", "").encode("utf-8", "replace")[:VALUE_BYTES].decode("utf-8", "ignore")


# -- a command -----------------------------------------------------------------------------------------------------


def _run(command: str, event: str, payload: Mapping[str, Any], folder: Path) -> str:
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as answer:
        said.write((summary(event, payload) + "\n").encode("utf-8", "replace"))
        said.seek(0)
        try:
            process = subprocess.Popen(
                ["bash", "-c", command],
                stdin=said,
                stdout=answer,
                stderr=subprocess.STDOUT,
                cwd=folder if folder.is_dir() else "/",
                env={**environment(folder), **variables(event, payload, folder)},
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            return f"the command could not be started: {error}"
        try:
            status = process.wait(COMMAND_SECONDS)
        except (subprocess.TimeoutExpired, _LimitError):
            os.killpg(process.pid, signal.SIGKILL)  # it is not yet waited for, so the group is still its own
            process.wait()
            return f"the command took too long and was ended{_last_line(answer)}"
        if status == 0:
            return ""
        how = f"exit status {status}" if status > 0 else f"signal {-status}"
        return f"the command failed, {how}{_last_line(answer)}"


def environment(folder: Path) -> dict[str, str]:
    """The variables of whoever launched the sweep in ``folder`` last; this process's own where they are not there."""
    files = {int(file.stem.partition("-")[2]): file for file in folder.glob("environment-[0-9]*.json")}
    if files:
        try:
            with open(files[max(files)], encoding="utf-8") as file:
                return {str(name): str(value) for name, value in json.load(file)["variables"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass  # half a message in the tmux server's environment is better than none
    return dict(os.environ)


def _last_line(answer: IO[bytes]) -> str:
    answer.seek(max(0, answer.seek(0, os.SEEK_END) - 2000))
    lines = answer.read().decode("utf-8", "replace").strip().splitlines()
    return f": {lines[-1]}" if lines else ""


# -- a URL ---------------------------------------------------------------------------------------------------------


def refusal(url: str) -> str:
    """Why nothing is posted to ``url``; '' where it may be. What a sweep tells is not for everybody on the way."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return f"not a URL: {error}"
    if not host:
        return "the URL names no host"
    if parts.scheme == "https" or (parts.scheme == "http" and is_local(host)):
        return ""
    return f"{parts.scheme} to {host} is refused: https only (http for this machine)"


def is_local(host: str) -> bool:
    return host in ("localhost", "127.0.0.1", "::1")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to where it may post, and posts again there; urllib by itself would turn it into a GET without data."""

    http_error_308 = urllib.request.HTTPRedirectHandler.http_error_302  # which 3.10 does not know

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        refused = refusal(newurl)
        if refused:
            raise urllib.error.URLError(f"redirected to where {refused}")
        if code == 303:  # it was taken; there is only something to look at elsewhere
            return urllib.request.Request(newurl, headers={"User-Agent": "sweep"})
        return _request(newurl, req.data)


def _request(url: str, data: Any) -> urllib.request.Request:
    headers = {"Content-Type": "application/json", "User-Agent": "sweep"}
    return urllib.request.Request(url, data=data, headers=headers, method="POST")


def _post(url: str, event: str, payload: Mapping[str, Any]) -> str:
    refused = refusal(url)
    if refused:
        return refused
    parts = urlsplit(url)
    text = summary(event, payload)
    # "text" is what Slack, Mattermost and Teams show of it, "content" what Discord does.
    data = json.dumps({**payload, "event": event, "text": text, "content": text}).encode()
    handlers: list[urllib.request.BaseHandler] = [_Redirects()]
    if is_local(parts.hostname or ""):
        handlers.append(urllib.request.ProxyHandler({}))
    opener = urllib.request.build_opener(*handlers)
    failure = ""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(PAUSE * attempt)
        try:
            with opener.open(_request(url, data), timeout=POST_SECONDS):
                return ""
        except urllib.error.HTTPError as error:
            with error:
                failure = f"{parts.scheme}://{parts.hostname}: answered {error.code} {error.reason}"
            if error.code < 500 and error.code not in (408, 429):
                return failure
        except (OSError, HTTPException, ValueError) as error:
            failure = f"{parts.scheme}://{parts.hostname}: {getattr(error, 'reason', error)}"
            if "is refused" in failure or "certificate verify failed" in failure:  # it will be no better in a moment
                return failure
    return f"{failure} ({TRIES} tries)"


# -- the log -------------------------------------------------------------------------------------------------------


def _remember(file: Path, event: str, failure: str) -> None:
    """What ``sweep status`` tells of the last word: that it failed, or nothing. It is no reason to fail."""
    with contextlib.suppress(OSError):
        if failure:
            paths.replace(file, f"{event}: {_plain(failure)}\n")
        else:
            file.unlink(missing_ok=True)


def _plain(failure: str) -> str:
    return "".join(char if char.isprintable() else " " for char in failure)[:1000]


def _note(log: Path, event: str, failure: str) -> None:
    """One line in ``log``, by one write; where even that fails there is nobody left to tell."""
    text = _plain(failure)
    line = f"{time.strftime('%Y-%m-%d %H:%M:%S')} notify ({event}): {text}\n"
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        return
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        try:
            file.write(line.encode("utf-8", "replace"))
        except OSError:
            return


if __name__ == "__main__":
    sys.exit(main())
