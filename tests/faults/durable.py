"""A machine's reset: everything under a folder that nobody called fsync(2) for is gone (durable.c keeps the rest)."""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import subprocess
import uuid
from pathlib import Path

SOURCE = Path(__file__).with_name("durable.c")
_AT_FDCWD, _AT_SYMLINK_NOFOLLOW = -100, 0x100
_BASIC_AND_BIRTH = 0x7FF | 0x800
_libc = ctypes.CDLL(None, use_errno=True)


def build(folder: Path) -> Path:
    """Compile the library that is preloaded. Raises OSError or CalledProcessError where there is no compiler."""
    return compiled(SOURCE, folder / "libdurable.so")


def compiled(source: Path, library: Path) -> Path:
    """A library to preload, out of one file. Raises OSError or CalledProcessError where there is no compiler."""
    compiler = shutil.which("cc") or "gcc"
    options = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([compiler, *options, "-o", str(library), str(source), "-ldl"], check=True)
    return library


def key(path: Path) -> str:
    """What durable.c calls this file: its inode's number and birth."""
    found = ctypes.create_string_buffer(256)
    if _libc.statx(_AT_FDCWD, os.fsencode(path), _AT_SYMLINK_NOFOLLOW, _BASIC_AND_BIRTH, found):
        raise OSError(ctypes.get_errno(), "statx", str(path))
    (inode,) = struct.unpack_from("Q", found, 32)
    second, nanosecond = struct.unpack_from("qI", found, 80)
    return f"{inode:x}-{second:x}-{nanosecond:x}"


class Disk:
    """What is on disk of ``names`` in ``root``; everything that syncs must be started with ``environment()``."""

    def __init__(self, root: Path, names: tuple[str, ...], kept: Path) -> None:
        self.root = root
        self.names = names
        self.kept = kept
        self.boot = kept.with_name(f"{kept.name}-boot")
        kept.mkdir()
        self._boot()

    def environment(self) -> dict[str, str]:
        return {"DURABLE_ROOT": str(self.root), "DURABLE_KEPT": str(self.kept), "DURABLE_BOOT": str(self.boot)}

    def synced(self, folder: Path) -> dict[str, bytes]:
        """The files of a folder whose names and bytes are on disk, whether or not the way there is."""
        names = self._listing(key(folder))
        return {
            name: (self.kept / one).read_bytes()
            for name, (one, kind) in names.items()
            if kind == "f" and (self.kept / one).exists()
        }

    def reset(self) -> None:
        """Put what is on disk in the place of what there was. Nothing may be running there any more."""
        new = self.root / ".reset"
        new.mkdir()
        there = self._listing(key(self.root))
        for name in self.names:
            if name in there:
                self._restore(*there[name], new / name)
            if (self.root / name).exists():
                shutil.rmtree(self.root / name)
            if (new / name).exists():
                (new / name).rename(self.root / name)
        new.rmdir()
        shutil.rmtree(self.kept)
        self.kept.mkdir()
        self.settle()
        self._boot()

    def settle(self) -> None:
        """Everything that is there is on disk from now on."""
        self._keep(self.root, only=self.names)

    def _boot(self) -> None:
        self.boot.write_text(f"{uuid.uuid4()}\n")

    def _listing(self, folder: str) -> dict[str, tuple[str, str]]:
        try:
            text = (self.kept / folder).read_text(errors="surrogateescape")
        except FileNotFoundError:
            return {}
        entries = (line.split(" ", 2) for line in text.splitlines())
        return {name: (one, kind) for one, kind, name in entries}

    def _restore(self, one: str, kind: str, target: Path) -> None:
        if kind == "d":
            target.mkdir()
            for name, (below, what) in self._listing(one).items():
                self._restore(below, what, target / name)
        else:
            copy = self.kept / one
            target.write_bytes(copy.read_bytes() if copy.exists() else b"")
        if (self.kept / one).exists():
            target.chmod((self.kept / one).stat().st_mode & 0o7777)

    def _keep(self, path: Path, only: tuple[str, ...] | None = None) -> None:
        copy = self.kept / key(path)
        if path.is_dir():
            children = [child for child in path.iterdir() if only is None or child.name in only]
            lines = [f"{key(child)} {'d' if child.is_dir() else 'f'} {child.name}\n" for child in children]
            copy.write_text("".join(lines), errors="surrogateescape")
            for child in children:
                self._keep(child)
        else:
            copy.write_bytes(path.read_bytes())
        copy.chmod(path.stat().st_mode & 0o7777)
