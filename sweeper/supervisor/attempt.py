"""The attempt itself: prepared, begun, ended, recorded; no waiting here, the loop in standby.py does that."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from sweeper import folders, model, oom, paths, procs
from sweeper.model import Attempt, Job, Outcome
from sweeper.supervisor import shell
from sweeper.supervisor.relay import Relay, Window

LONGEST = 131_000  # bytes of one variable; the kernel refuses to start programs with a longer one


class Running:
    """A run in the hands of this supervisor, from ``prepare`` to the closing of its lock.

    ``leased`` are the descriptors of GPU locks that the run inherits; where the run asks for GPUs its shell is forked
    only when they are known, so that it can inherit them.
    """

    def __init__(self, folder: Path, window: Window) -> None:
        self.run = paths.RunDir(folder)
        self.window = window
        job = folders.read_job(self.run)
        if job is None:
            raise ValueError(f"{self.run.job} is missing or damaged")
        self.job: Job = job
        self.place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # the folder, wherever it is moved
        self.lock = folders.open_lock(self.run.lock)
        self.log = os.open(self.run.log, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        self.environment = self._environment()
        self.git = folders.git_commit(Path(job.workdir))
        self.shell: shell.Shell | None = None
        self.relay: Relay | None = None
        self.attempt: Attempt | None = None
        self.attempts = 0  # so many there were before, known once its lock is held
        # Looked up ahead: between its turn and its command nothing is done that could be done before.
        self.pid = os.getpid()
        self.start_ticks = procs.start_ticks(self.pid) or 0
        self.host = socket.gethostname()
        self.boot_id = procs.boot_id()
        self.status: int | None = None
        self.main_ended_at: float | None = None
        self.began = 0.0
        self.kernel = oom.counter()
        self.kernel_kills = 0

    def _environment(self) -> dict[str, str]:
        stored = folders.read_json(self.run.path.parent / self.job.environment)
        if stored is None:
            raise ValueError(f"{self.run.path.parent / self.job.environment} is missing or damaged")
        environment: dict[str, str] = dict(stored["variables"])
        os.umask(int(stored["umask"]))
        environment.update(self.job.env)
        environment["TERM"] = os.environ.get("TERM", "dumb")
        environment.update(
            SWEEP_NAME=self.job.sweep,
            SWEEP_RUN=str(self.job.number),
            SWEEP_RUN_DIR=str(self.run.path),
            SWEEP_PARAMS=json.dumps(self.job.params, ensure_ascii=False),
        )
        if len(os.fsencode(environment["SWEEP_PARAMS"])) > LONGEST:
            del environment["SWEEP_PARAMS"]  # run.json has them
        for name in ("TMUX", "TMUX_PANE"):
            if name in os.environ:
                environment[name] = os.environ[name]
        return environment

    def fork(self, leased: list[int]) -> None:
        """Fork the command's shell, held at its pipe. Raises OSError."""
        self.shell = shell.fork(self.job, self.environment, self.window.size(), [self.lock, *leased])
        self.relay = Relay(self.shell.master, self.shell.slave, self.log, self.window)

    def take(self) -> bool:
        """Take the run's lock; False where somebody else has it. Raises OSError."""
        procs.crashpoint("before lock")
        taken = folders.take_lock(self.lock)
        procs.crashpoint("locked")
        return taken

    def end_leftovers(self) -> list[int]:
        """End what is left of an attempt that vanished without an outcome; give the pids of what would not die."""
        own = procs.descendants(os.getpid())
        return procs.end_run(str(self.run.path), str(self.run.lock), patience=2.0, spare=own)

    def begin(
        self, gpus: list[str], variables: Mapping[str, str], waited: float, gpu_free: int | None = None
    ) -> Attempt:
        """Write the attempt and let the command go. Raises OSError; then nothing has begun."""
        assert self.shell is not None
        number = self.attempts + 1
        attempt = Attempt(
            number=number,
            pid=self.pid,
            start_ticks=self.start_ticks,
            host=self.host,
            boot_id=self.boot_id,
            gpus=gpus,
            log_offset=os.fstat(self.log).st_size,
            started=time.time(),
            waited=round(waited, 3),
            git=self.git,
            gpu_free=gpu_free,
        )
        paths.replace(self.run.attempt(number), json.dumps(attempt.to_json()))
        self.attempt = attempt
        self.shell.release({"SWEEP_ATTEMPT": str(number), **variables})
        self.kernel_kills = self.kernel.read()  # the shell has not even begun to read
        procs.crashpoint("released")
        self.began = time.monotonic()
        return attempt

    def reap(self) -> bool:
        """Collect every child that has ended; True when nothing of the run is left alive."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            if self.shell is not None and pid == self.shell.pid:
                self.status = status
                self.main_ended_at = time.monotonic()

    @property
    def main_ended(self) -> bool:
        return self.status is not None

    def outcome(self, told: str | None, why: str) -> Outcome:
        """How it ended: ``told`` and ``why`` are the outcome and reason of whoever ended it, None if it ended alone."""
        assert self.attempt is not None
        code, number = _exit(self.status)
        outcome, reason = (told, why) if told is not None else self._judge(code, number)
        return Outcome(
            outcome=outcome,
            attempt=self.attempt.number,
            exit_code=code,
            signal=number,
            reason=reason,
            started=self.attempt.started,
            ended=self.attempt.started + time.monotonic() - self.began,  # whoever sets the clock makes no run longer
            gpus=self.attempt.gpus,
            host=self.attempt.host,
            log_offset=self.attempt.log_offset,
            log_end=os.fstat(self.log).st_size,
        )

    def _judge(self, code: int | None, number: int | None) -> tuple[str, str]:
        if code == 0:
            return model.DONE, ""
        tail = self._tail()
        reason = _describe(code, number)
        killed = number == signal.SIGKILL or code == 128 + signal.SIGKILL
        if oom.oom_in(tail):
            return model.OUT_OF_MEMORY, f"{reason}: out of GPU memory"
        if (killed or oom.killed_in(tail)) and self.kernel.read() > self.kernel_kills:
            return model.OUT_OF_MEMORY, f"{reason}: {self.kernel.blamed('' if killed else 'a process of it was ')}"
        from sweeper import lastwords  # its patterns are compiled where a run has failed

        last = lastwords.said(lastwords.lines(tail))
        return model.FAILED, f"{reason}: {last}" if last else reason

    def _tail(self) -> bytes:
        assert self.attempt is not None
        try:
            return folders.log_end(self.log, self.attempt.log_offset)
        except OSError:  # a disk that fails: how the run ended is known all the same
            return b""

    def record(self, outcome: Outcome) -> None:
        """Put the log, then the outcome, on disk. Raises OSError (a full disk, say); may be called again.

        The outcome goes into the folder where the run began, wherever that was moved meanwhile. Where it was deleted
        and made anew (by the command itself, say) it goes into the new one, unless somebody began an attempt there.
        """
        procs.crashpoint("before log sync")
        os.fsync(self.log)
        # And what leads to the outcome: what was run, and the folder's own name. Nobody waits for that here.
        paths.sync_path(self.run.job.name, dir_fd=self.place, missing_ok=True)
        paths.sync_path("..", dir_fd=self.place, missing_ok=True)
        text = json.dumps(outcome.to_json())
        try:
            paths.replace(Path(f"/proc/self/fd/{self.place}") / self.run.outcome(outcome.attempt).name, text, sync=True)
        except FileNotFoundError:
            other = folders.history(self.run).attempt
            if other is not None and (other.pid, other.start_ticks) != (os.getpid(), procs.start_ticks(os.getpid())):
                raise
            paths.replace(self.run.outcome(outcome.attempt), text, sync=True)

    def close(self) -> None:
        """Let go of everything, the run's lock last."""
        descriptors = [self.place, self.log, self.lock]
        if self.shell is not None:
            descriptors.insert(0, self.shell.master)
            if self.relay is not None and self.relay.slave is not None:
                descriptors.insert(0, self.relay.slave)
            if self.attempt is None:
                descriptors.insert(0, self.shell.go)  # a shell that was never let go leaves when its pipe closes
        for descriptor in descriptors:
            with contextlib.suppress(OSError):
                os.close(descriptor)


def _exit(status: int | None) -> tuple[int | None, int | None]:
    if status is None:
        return None, None
    if os.WIFSIGNALED(status):
        return None, os.WTERMSIG(status)
    return os.WEXITSTATUS(status), None


def _describe(code: int | None, number: int | None) -> str:
    if number is not None:
        return f"killed by {_signal_name(number)}"
    if code is not None and code > 128:  # bash's way of saying it
        name = _signal_name(code - 128)
        return f"exit status {code} ({name})" if name.startswith("SIG") else f"exit status {code}"
    return f"exit status {code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
