"""The GPUs of this machine, by their driver's word: NVIDIA's library, else what the kernel says of AMD's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

SYS = Path("/sys")


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that computes on a GPU. ``memory`` is in bytes, None where the driver does not say."""

    pid: int
    memory: int | None


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, or one MIG instance of one (then ``index`` is that of the GPU which it is a part of).

    ``vendor`` is ``nvidia`` or ``amd``; memory is in bytes; ``utilization`` in percent, None where nobody asked or
    the driver does not say.
    """

    index: int
    uuid: str
    name: str
    vendor: str
    memory_total: int
    memory_used: int
    utilization: int | None = None
    processes: tuple[GpuProcess, ...] = ()
    mig: bool = False

    @property
    def handle(self) -> str:
        """What a run is told: the index, and for a MIG instance its UUID."""
        return self.uuid if self.mig else str(self.index)


@dataclass(frozen=True, slots=True)
class Machine:
    """Every GPU that the drivers show, in PCI order, and why there is none (or one less) where that is so.

    ``broken``: there is a driver, or there are GPUs, that do not answer as they should. ``lost`` are those that a
    driver counts and does not reach: their index, and what it says.
    """

    gpus: tuple[Gpu, ...] = ()
    reason: str = ""
    broken: bool = False
    lost: tuple[tuple[int, str], ...] = ()


def machine(*, load: bool = True, sys: Path = SYS) -> Machine:
    """Ask the drivers. With ``load`` they are asked for utilization too, which takes some of them milliseconds.

    NVIDIA's count first: where there are any, an AMD chip beside them is the processor's own graphics. Never raises
    for what a driver does.
    """
    from sweeper.lease import amd, nvidia

    found = nvidia.read(load=load)
    if found.gpus:
        return found
    others = amd.read(sys)
    if not others.gpus:
        return found
    return replace(others, reason=found.reason, broken=True, lost=found.lost) if found.broken else others


def all_gpus(*, load: bool = True, sys: Path = SYS) -> list[Gpu]:
    """Every GPU of this machine, whoever may use it; empty where there is none or its driver does not answer."""
    return list(machine(load=load, sys=sys).gpus)
