"""The two ways to have a supervisor stand by: a tmux window of its own, or a fork in the chain's terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sweeper import paths, procs
from sweeper.channel import Channel
from sweeper.errors import OverloadError
from sweeper.supervisor import boot

if TYPE_CHECKING:
    from sweeper.lease import Lease
    from sweeper.tmux import Pane

KEPT = 5  # windows of failed runs that stay open


@dataclass(slots=True)
class Opened:
    """A supervisor on its way: its channel where it is connected from the start, else the pane that it will name."""

    channel: Channel | None = None
    pane: Pane | None = None
    pid: int | None = None
    reported: bool = False  # its supervisor has been heard: when it leaves, tmux closes its window


class Engine(Protocol):
    """What the scheduler needs of a way to run."""

    ahead: int  # supervisors that stand by beyond the free slots
    in_order: bool  # a ready run waits for an earlier one that is still being prepared

    def open(self) -> Opened: ...
    def there(self, opened: Opened) -> bool: ...
    def obstacles(self) -> str: ...
    def begun(self, opened: Opened, title: str) -> None: ...
    def ended(self, opened: Opened, well: bool) -> None: ...
    def gone(self, opened: Opened) -> bool: ...
    def finish(self) -> None: ...


class Windows:
    """One tmux window a run: closed when the run ends well; of the others the last few stay, with their output."""

    ahead = 2
    in_order = False

    def __init__(self, session: str, socket: Path) -> None:
        from sweeper import tmux

        self._tmux = tmux
        self.session = tmux.own_session(session)  # its user may rename it
        tmux.spare_hooks(self.session)
        self._argv: Sequence[str] = (
            sys.executable,
            "-I",
            "-S",
            "-X",
            "utf8",
            boot.__file__,
            str(socket),
            paths.import_path(),
        )
        self._kept: list[Pane] = []
        self._stay = tmux.run("show-options", "-gwv", "remain-on-exit") != ["off"]

    def open(self) -> Opened:
        """Raises SweepError where the session is gone."""
        procs.crashpoint("before standby")
        opened = Opened(pane=self._tmux.new_window(self.session, "standby", self._argv))
        procs.crashpoint("standby opened")
        return opened

    def there(self, opened: Opened) -> bool:
        assert opened.pane is not None
        try:
            return opened.pane.pane in self._tmux.panes(self.session)
        except OverloadError:
            return True  # for all that is known

    def obstacles(self) -> str:
        """What may keep a window from standing, as a line of its own, or ''."""
        return self._tmux.obstacles()

    def begun(self, opened: Opened, title: str) -> None:
        assert opened.pane is not None
        self._tmux.rename(opened.pane, title)

    def ended(self, opened: Opened, well: bool) -> None:
        assert opened.pane is not None
        if well:
            return
        self._tmux.keep(opened.pane)
        self._kept.append(opened.pane)
        while len(self._kept) > KEPT:
            self._tmux.close(self._kept.pop(0))

    def gone(self, opened: Opened) -> bool:
        """Close a window whose supervisor has left or never came; mostly tmux did so, and asking costs 10 ms of CPU."""
        assert opened.pane is not None
        if opened.pane not in self._kept and (self._stay or not opened.reported):
            self._tmux.close(opened.pane)
        return True

    def finish(self) -> None:
        return


class Chain:
    """Forked supervisors that follow each other in the scheduler's own terminal."""

    ahead = 1
    in_order = True

    def __init__(self, forked: Callable[[Channel, Lease | None], None]) -> None:
        self._forked = forked
        self.held: Lease | None = None

    def open(self) -> Opened:
        """Fork; the child never returns from here. Raises OSError."""
        ours, theirs = Channel.pair()
        procs.crashpoint("before standby")
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                procs.crashpoint("standby born")
                _close_all_but(theirs, self.held)
                self._forked(theirs, self.held)
                status = 0
            finally:
                os._exit(status)
        procs.crashpoint("standby forked")
        theirs.close()
        return Opened(channel=ours, pid=pid)

    def there(self, opened: Opened) -> bool:
        return True  # the end of its channel would have told

    def obstacles(self) -> str:
        return ""

    def begun(self, opened: Opened, title: str) -> None:
        return

    def ended(self, opened: Opened, well: bool) -> None:
        return

    def gone(self, opened: Opened) -> bool:
        """Collect a supervisor that has left; False while it is still about to."""
        assert opened.pid is not None
        try:
            return os.waitpid(opened.pid, os.WNOHANG)[0] != 0
        except ChildProcessError:
            return True

    def finish(self) -> None:
        return


def _close_all_but(channel: Channel, held: Lease | None) -> None:
    """The forked supervisor must not hold the sweep's lock, nor any other descriptor of the scheduler."""
    keep = {0, 1, 2, channel.fileno(), *(held.fds if held is not None else ())}
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in keep:
            try:
                os.close(int(name))
            except OSError:
                continue
