"""One process that waits for GPUs and holds them, for the tests: told what to do by its arguments and its input.

Prints one JSON object a line: ``waiting`` whenever the cause changes, ``got`` once. A line ``release`` ends it; with
``child`` it first starts a program that inherits the lease, ``closes`` it, or ``hides`` altogether, and says its pid.
SIGUSR1 makes it stand still until SIGUSR2, and nothing shows it.
"""

from __future__ import annotations

import encodings.ascii
import json
import os
import pwd
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from sweeper.lease import Lease, Waiter, all_gpus, amd
from sweeper.model import GpuRequest

LOADED_EARLY = (amd, encodings.ascii, pwd)  # the program's folders may be closed to the user that we become


def say(**data: Any) -> None:
    print(json.dumps(data), flush=True)


def wait_with(waiter: Waiter) -> Lease:
    poller = select.poll()
    poller.register(waiter.fileno(), select.POLLIN)
    said = None
    while (lease := waiter.try_acquire()) is None:
        wait = waiter.waiting_for()
        if wait.key != said:
            said = wait.key
            say(event="waiting", text=wait.text)
        seconds = waiter.timeout()
        poller.poll(None if seconds is None else seconds * 1000 + 0.5)
    return lease


def main() -> None:
    asked = json.loads(sys.argv[1])
    if asked.get("uid"):
        all_gpus()
        os.setgid(asked["uid"])
        os.setuid(asked["uid"])
    os.umask(asked.get("umask", 0o22))
    request = GpuRequest(**{"count": 1, **asked.get("request", {})})
    waiter = Waiter(
        request, {"command": asked.get("command", "python train.py"), "pid": os.getpid()}, Path(asked["folder"])
    )
    signal.signal(signal.SIGUSR1, lambda *_: signal.sigwait([signal.SIGUSR2]))
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    say(event="queued", claim=waiter.claim.name)
    lease = wait_with(waiter)
    waiter.close()
    child = None
    if asked.get("child"):
        descriptors = [os.dup(one) for one in lease.fds] if asked["child"] == "inherits" else []
        env = {} if asked["child"] == "hides" else {**os.environ, **lease.environment}
        child = subprocess.Popen(["sleep", "600"], pass_fds=descriptors, stdout=subprocess.DEVNULL, env=env)
        for one in descriptors:
            os.close(one)
    say(event="got", names=lease.names, env=dict(lease.environment), child=child.pid if child else None)
    sys.stdin.readline()
    lease.close()
    say(event="released")


if __name__ == "__main__":
    main()
