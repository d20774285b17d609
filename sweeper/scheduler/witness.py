"""What a closed session means is known a moment later: a machine that shuts down ends everybody else by TERM, too.

A tmux server that is ended takes its windows with it, and the scheduler hears SIGHUP as if a person had closed the
session. It records that the sweep is stopped, ends what runs and lets go of its locks, so that nobody waits for it. But
its process stays for some seconds: a TERM in that time tells that the machine goes down, and then the sweep was
interrupted, and ``resume --all`` goes on with it after the boot.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from dataclasses import replace

from filelock import lock_descriptor

from sweeper import errors, folders, paths
from sweeper.scheduler.loop import Loop
from sweeper.store import Store, open_store
from sweeper.store.db import RUN, STOP

LINGER = 3.0  # seconds; systemd and init tell everybody within much less
HUNG_UP = ("its tmux session was closed", "its terminal was closed")


def shut_down_follows(loop: Loop) -> bool:
    """Whether TERM comes within LINGER seconds."""
    deadline = time.monotonic() + LINGER
    while signal.SIGTERM not in loop.signals and time.monotonic() < deadline:
        loop.sleep([deadline])
    return signal.SIGTERM in loop.signals


def take_back(store: Store) -> bool:
    """The stop of a session that was closed, if nothing else was ordered since: the sweep was interrupted."""
    wish = store.wish()
    if wish is None or wish.want != STOP or wish.why not in HUNG_UP:
        return False
    store.set_wish(replace(wish, want=RUN, why=""))
    return True


def watch(sweep: paths.SweepDir, loop: Loop) -> str:
    """Called without any lock, once the sweep is stopped: stay, and take the stop back if the machine shuts down. Gives
    what came of it, '' where nothing did."""
    if not shut_down_follows(loop):
        return ""
    try:
        launch = folders.open_lock(sweep.launch_lock)
    except OSError:
        return ""  # the sweep was removed meanwhile
    try:
        if not lock_descriptor(launch, blocking=False):
            return ""  # somebody launches: what he wants counts
        store = open_store(sweep)
        try:
            store.synced()
            with store:
                taken = take_back(store)
        finally:
            store.close()
    except (OSError, sqlite3.Error, errors.SweepError) as error:
        return f"the machine shuts down, and that could not be written: {error}"
    finally:
        os.close(launch)
    return "the machine shuts down: the sweep was interrupted, not stopped" if taken else ""
