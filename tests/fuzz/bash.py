"""A bash that reads scripts and hands back the words they made: what a value became, a thousand times a second."""

from __future__ import annotations

import atexit
import os
import select
import shlex
import shutil
import subprocess
import time

PATIENCE = 10.0
# Nothing can be started from within: no command has a path, and a restricted shell takes none with a slash.
_LOOP = r"""
enable -n kill exec ulimit trap enable suspend source .
hit() { builtin printf '\001HIT\001'; }
while IFS= read -r -d '' script; do eval "$script"; builtin printf '\001END\001'; done
"""
_END = b"\x01END\x01"
_HIT = b"\x01HIT\x01"


class Bash:
    """One shell for many scripts; it is replaced when a script ends it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def words(self, script: str) -> list[bytes]:
        """The NUL-terminated words that ``script`` (of builtins alone) prints. Raises AssertionError where it hangs."""
        return self._said(script).split(b"\0")[:-1]

    def hits(self, script: str) -> bool:
        """Whether the function ``hit`` is called when ``script``, of whatever kind, is run by itself."""
        return _HIT in self._said(f"(FUNCNEST=20; eval {shlex.quote(script)}; builtin wait) </dev/null")

    def _said(self, script: str) -> bytes:
        shell = self._shell()
        assert shell.stdin is not None
        assert shell.stdout is not None
        shell.stdin.write(script.encode("utf-8", "surrogateescape") + b"\0")
        shell.stdin.flush()
        said = b""
        deadline = time.monotonic() + PATIENCE
        while not said.endswith(_END):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([shell.stdout], [], [], left)[0]:
                self.close()
                raise AssertionError(f"bash did not come back from {script!r}; it said {said!r}")
            piece = os.read(shell.stdout.fileno(), 65536)
            if not piece:
                self.close()
                raise AssertionError(f"bash was ended by {script!r}")
            said += piece
        return said[: -len(_END)]

    def _shell(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            if self._process is None:
                atexit.register(self.close)
            self._process = subprocess.Popen(
                [shutil.which("bash") or "/bin/bash", "--noprofile", "--norc", "--restricted", "-c", _LOOP],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/proc/self",
                env={"PATH": "/nonexistent", "LC_ALL": "C.UTF-8"},
            )
        return self._process

    def close(self) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.kill()
            self._process.wait()
            self._process.stdin.close()
            self._process.stdout.close()
            self._process = None
