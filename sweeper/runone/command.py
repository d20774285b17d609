"""The command that run-one starts: what it inherits, the signals that reach it, and how it ended.

It stays in our process group, so that the shell's job control and the terminal's Ctrl-C and Ctrl-Z reach it as ever;
what is sent to us alone is passed on. Stopped by the terminal, it takes us with it, so that the shell has its job back.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence

from sweeper import procs

_TERMINALS = (  # what a terminal sends, it sends to the whole group
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGCONT,
    signal.SIGWINCH,
)
_STOPPING = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
_HEARD = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
_HIGH = 100  # the descriptors that the command inherits have no lower numbers, where so many may be open
_FAILED, _NOT_FOUND = 126, 127  # what shells exit with for a command that cannot be run, or is not there


def run(argv: Sequence[str], env: Mapping[str, str], keep: Sequence[int]) -> tuple[int, str]:
    """Start the command, which inherits ``keep``, pass on to it what is sent to us, and give its wait status, and what
    there is to say: why it could not be started."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    ignored = signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # or the kernel would tell nobody how the command ended
    reader, writer = os.pipe()
    procs.crashpoint("before command")
    pid = os.fork()
    if pid == 0:
        try:
            procs.crashpoint("command born")
            if ignored:
                signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            _become(argv, env, keep, before)
        except OSError as error:
            os.write(writer, str(error.errno or errno.EIO).encode())
        finally:
            os._exit(_FAILED)
    procs.crashpoint("command forked")
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        failed = pipe.read()
    status = _wait(pid)
    while signal.sigtimedwait(_HEARD, 0):
        pass  # meant for a command that is over, whose status counts
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if failed:
        number = int(failed)
        return (_NOT_FOUND if number == errno.ENOENT else _FAILED) << 8, f"sweep: {argv[0]}: {os.strerror(number)}"
    return status, ""


def _become(argv: Sequence[str], env: Mapping[str, str], keep: Sequence[int], mask: Iterable[int]) -> None:
    """In the forked child: the command. Raises OSError where it cannot be started."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):  # which Python changed for itself
        if number != signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = _HIGH if most == resource.RLIM_INFINITY else max(3, min(_HIGH, most - 2 * len(keep)))
    for descriptor in keep:
        fcntl.fcntl(descriptor, fcntl.F_DUPFD, lowest)  # inherited, and away from the numbers that scripts use
    os.execvpe(argv[0], list(argv), dict(env))


def reap() -> None:
    """Let go of those that we adopted and that have ended: the table of processes holds only so many, and the lease
    would take them for something that is left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def _wait(pid: int) -> int:
    """Until the command is gone. What the terminal sends reaches the whole group: only what a process sent to us is
    passed on (si_code: sigaction(2)). What the command leaves behind comes to us, and is reaped on the way."""
    while True:
        changed = -1
        while changed:
            changed, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            if changed == pid and not os.WIFSTOPPED(status):
                return status
            if changed == pid and os.WSTOPSIG(status) in _STOPPING:
                _stop(os.WSTOPSIG(status))
        info = signal.sigwaitinfo(_HEARD)
        if info.si_signo != signal.SIGCHLD and (info.si_code <= 0 or info.si_signo not in _TERMINALS):
            os.kill(pid, info.si_signo)  # not waited for yet: the pid is still its own


def _stop(number: int) -> None:
    """Stop as the command was stopped, until somebody goes on with us; he will have meant the command too."""
    os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})


def end_by(number: int) -> None:
    """End as the command ended, so that whoever started us sees the same; its core was dumped, ours is of no use."""
    sys.stdout.flush()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    signal.pause()
