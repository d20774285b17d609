"""`sweep run-one`: one command with a lease, in the present terminal, as if it had been started by itself.

The command stays in our process group, so that the shell's job control and the terminal's Ctrl-C reach it as ever; what
is sent to us alone is passed on. We wait for it and hold the lease meanwhile (a command like sudo closes what it
inherits); killed with SIGKILL, we leave the lease to the command, which inherited it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import resource
import select
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from filelock import lock_descriptor

from sweeper import paths, procs
from sweeper.errors import BusyError, InputError
from sweeper.lease import Lease, Waiter
from sweeper.model import GpuRequest

_PASSED_ON = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
)
_HIGH = 100  # the descriptors that the command inherits have no lower numbers
_FAILED, _NOT_FOUND = 126, 127  # what shells exit with for a command that cannot be run, or is not there


def run_one(argv: Sequence[str], request: GpuRequest, *, no_wait: bool = False, same_command: bool = False) -> int:
    """Run ``argv`` with the GPUs of ``request`` (count 0: none) and give its exit status.

    A command that a signal ended ends this process by the same signal. With ``no_wait`` raises BusyError where the GPUs
    are not to be had now; with ``same_command`` where this user runs the same command line already. Raises InputError.
    """
    if not argv:
        raise InputError("sweep run-one: no command is given.\n    sweep run-one [--gpus N] -- COMMAND...")
    kept = [_only_one(argv)] if same_command else []
    try:
        lease = None if request.count == 0 else _lease(argv, request, no_wait=no_wait)
    except KeyboardInterrupt:  # while it waited: the command would have ended by it
        _end_by(signal.SIGINT)
        raise
    procs.prctl(procs.PR_SET_CHILD_SUBREAPER, 1)  # so that the lease knows whether anything is left of it
    variables = {} if lease is None else lease.environment
    status = _run(argv, {**os.environ, **variables}, kept + ([] if lease is None else lease.fds))
    if lease is not None:
        lease.close()
    for descriptor in kept:
        os.close(descriptor)
    if os.WIFSIGNALED(status):
        _end_by(os.WTERMSIG(status))
    return os.waitstatus_to_exitcode(status)


def same_command_lock(argv: Sequence[str]) -> Path:
    """The lock that says that this user runs this command line."""
    line = b"\0".join(os.fsencode(word) for word in argv)
    return paths.runtime_folder() / f"same-{hashlib.sha256(line).hexdigest()[:32]}.lock"


def _only_one(argv: Sequence[str]) -> int:
    path = same_command_lock(argv)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    if lock_descriptor(descriptor, blocking=False):
        os.pwrite(descriptor, b"%-20d" % os.getpid(), 0)
        return descriptor
    said = os.pread(descriptor, 20, 0).strip()
    os.close(descriptor)
    pid = f" (pid {int(said)})" if said.isdigit() else ""
    raise BusyError(f"you are running this command line already{pid}; --same-command does not start it again")


def _lease(argv: Sequence[str], request: GpuRequest, *, no_wait: bool) -> Lease:
    waiter = Waiter(request, {"command": " ".join(argv), "pid": os.getpid()})
    try:
        lease = waiter.try_acquire()
        if lease is None and no_wait:
            raise BusyError(f"not started: it would wait for {waiter.waiting_for().everything}")
        said = ""
        poller = select.poll()
        poller.register(waiter.fileno(), select.POLLIN)
        while lease is None:
            wait = waiter.waiting_for()
            if wait.key != said:
                said = wait.key
                print(f"sweep: waiting for {wait.lasting}", file=sys.stderr, flush=True)
            seconds = waiter.timeout()
            poller.poll(None if seconds is None else seconds * 1000 + 0.5)
            lease = waiter.try_acquire()
        return lease
    finally:
        waiter.close()


def _run(argv: Sequence[str], env: Mapping[str, str], keep: Sequence[int]) -> int:
    """Start the command, pass on to it what is sent to us, and give its wait status."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*_PASSED_ON, signal.SIGCHLD})
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _become(argv, env, keep, before)
        except OSError as error:
            os.write(writer, str(error.errno or errno.EIO).encode())
        finally:
            os._exit(_FAILED)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        failed = pipe.read()
    status = _wait(pid)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if failed:
        number = int(failed)
        print(f"sweep: {argv[0]}: {os.strerror(number)}", file=sys.stderr)
        return (_NOT_FOUND if number == errno.ENOENT else _FAILED) << 8
    return status


def _become(argv: Sequence[str], env: Mapping[str, str], keep: Sequence[int], mask: Iterable[int]) -> None:
    """In the forked child: the command. Raises OSError where it cannot be started."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):  # which Python changed for itself
        if number != signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    for descriptor in keep:
        fcntl.fcntl(descriptor, fcntl.F_DUPFD, _HIGH)  # inherited, and away from the numbers that scripts use
    os.execvpe(argv[0], list(argv), dict(env))


def _wait(pid: int) -> int:
    """Until the command is gone. What the terminal sends reaches the whole group: only what a process sent to us is
    passed on (si_code: sigaction(2))."""
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status
        info = signal.sigwaitinfo({*_PASSED_ON, signal.SIGCHLD})
        if info.si_signo != signal.SIGCHLD and info.si_code <= 0:
            os.kill(pid, info.si_signo)  # not waited for yet: the pid is still its own


def _end_by(number: int) -> None:
    """End as the command ended, so that whoever started us sees the same; its core was dumped, ours is of no use."""
    sys.stdout.flush()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    signal.pause()
