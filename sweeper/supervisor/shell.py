"""The command's shell: forked early with its terminal, held at a pipe, let go with the last variables."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import signal
import struct
import termios
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sweeper import procs
from sweeper.model import Job

NOT_STARTED = 126  # the exit status of a shell that could not be executed, as shells have it
LONG = 100_000  # bytes of a script; the kernel takes 131,071 in one argument
GO = 9  # the descriptor at which the shell waits; closed before the user's words are run
_PROLOGUE = f'IFS= read -r -u {GO} SWEEP_GO || exit 125; exec {GO}<&-; eval "$SWEEP_GO"; unset SWEEP_GO\n'


@dataclass(frozen=True)
class Shell:
    """A forked shell: its pid, the pipe that lets it go, and both sides of its terminal (its own is ``slave``)."""

    pid: int
    go: int
    master: int
    slave: int

    def release(self, variables: Mapping[str, str]) -> None:
        """Let the command start, with these variables besides the environment that it was forked with."""
        words = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())
        with contextlib.suppress(BrokenPipeError):  # it is dead already; its status will tell how
            os.write(self.go, f"export {words}\n".encode())
        os.close(self.go)


def script(job: Job) -> str:
    """What bash is given: wait, then ``before:``, then the command."""
    before = f"{{ {job.before}\n}} || exit\n" if job.before.strip() else ""
    return f"{_PROLOGUE}{before}{job.command}\n"


def fork(job: Job, environment: Mapping[str, str], size: tuple[int, int], keep: Sequence[int]) -> Shell:
    """Fork bash in a session and terminal of its own, waiting to be released.

    ``size`` is (rows, columns); ``keep`` are the lock descriptors that everything the run starts inherits. Must be
    called from the main thread: the kernel ends the shell when the thread that forked it goes. Raises OSError.
    """
    master, slave = os.openpty()
    set_size(slave, size)
    attributes = termios.tcgetattr(slave)
    attributes[0] &= ~(termios.IXON | termios.IXOFF)  # Ctrl-S must not freeze a night's run
    termios.tcsetattr(slave, termios.TCSANOW, attributes)
    reader, writer = os.pipe()
    parent = os.getpid()
    text = script(job)
    procs.crashpoint("before fork")
    # A signal that comes before the child has laid off our handlers must wait, or it would be lost on the command.
    mask = signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
    pid = os.fork()
    if pid == 0:
        try:
            procs.crashpoint("shell born")
            _become(job, environment, slave, reader, keep, parent, text)
        except (OSError, ValueError) as error:
            os.write(2, f"sweep: the command could not be started: {error}\r\n".encode())
        finally:
            os._exit(NOT_STARTED)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    procs.crashpoint("forked")
    os.close(reader)
    return Shell(pid, writer, master, slave)


def _become(
    job: Job,
    environment: Mapping[str, str],
    slave: int,
    reader: int,
    keep: Sequence[int],
    parent: int,
    text: str,
) -> None:
    """In the forked child: a new session on ``slave``, then bash. Returns never, or raises OSError."""
    os.setsid()
    os.dup2(slave, 0)
    os.dup2(slave, 1)
    os.dup2(slave, 2)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    procs.prctl(procs.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(125)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    held = []
    for descriptor in keep:  # out of the way of the low numbers that a command may choose for itself
        moved = descriptor if descriptor > GO else _above(descriptor)
        os.set_inheritable(moved, True)
        held.append(moved)
    if reader != GO:
        os.dup2(reader, GO)
    os.set_inheritable(GO, True)
    os.chdir(job.workdir)
    if len(os.fsencode(text)) > LONG:
        text = f". /proc/self/fd/{_kept_in_memory(text)}\n"
    os.execvpe("bash", ["bash", "-c", text], dict(environment))


def _kept_in_memory(text: str) -> int:
    """The descriptor of a file without a name that holds ``text``."""
    descriptor = os.memfd_create("command", 0)
    with open(descriptor, "w", encoding="utf-8", errors="surrogateescape", closefd=False) as file:
        file.write(text)
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD, GO + 1)
    os.close(descriptor)
    return moved


def _above(descriptor: int) -> int:
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD, GO + 1)


def set_size(descriptor: int, size: tuple[int, int]) -> None:
    """Set a terminal's (rows, columns); the program in it gets SIGWINCH."""
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", size[0], size[1], 0, 0))


def get_size(descriptor: int) -> tuple[int, int]:
    """A terminal's (rows, columns). Raises OSError where it is no terminal."""
    columns, rows = os.get_terminal_size(descriptor)
    return (rows, columns) if rows and columns else (24, 80)
