"""Which GPUs may be used (CUDA_VISIBLE_DEVICES, gpus_allowed), and whether what is asked for could ever be had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sweeper.errors import RequestError
from sweeper.lease import devices
from sweeper.lease.devices import Gpu, Machine
from sweeper.model import MAX_SHARE, GpuRequest


@dataclass(frozen=True, slots=True)
class Asked:
    """A request made definite: take ``count`` of the GPUs ``allowed``."""

    count: int
    allowed: tuple[Gpu, ...]

    def __len__(self) -> int:
        """How many GPUs may be used."""
        return len(self.allowed)


def visible(env: Mapping[str, str], gpus: Sequence[Gpu] | None = None) -> list[Gpu]:
    """The GPUs that a process with the environment ``env`` may use, in PCI order.

    CUDA_VISIBLE_DEVICES is read as CUDA reads it (programming guide, "CUDA environment variables"): indices, UUIDs or
    unambiguous beginnings of them; the list ends at the first entry that names nothing, so that an empty one, -1 or
    NoDevFiles hides everything. Indices mean the order of PCI_BUS_ID. AMD's are named by HIP_VISIBLE_DEVICES (or
    CUDA_VISIBLE_DEVICES, which HIP reads in its place), within ROCR_VISIBLE_DEVICES.
    """
    left = list(devices.all_gpus(load=False) if gpus is None else gpus)
    places = {gpu.uuid: gpu.index for gpu in left}
    for name in _variables(left):
        if name in env:
            chosen = _listed(env[name], left, places)
            left = [gpu for gpu in left if gpu in chosen]
            if name != "ROCR_VISIBLE_DEVICES":
                break
            places = {gpu.uuid: place for place, gpu in enumerate(chosen)}  # what HIP counts from then on
    return left


def _variables(gpus: Sequence[Gpu]) -> tuple[str, ...]:
    if any(gpu.vendor == "amd" for gpu in gpus):
        return ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES")
    return ("CUDA_VISIBLE_DEVICES",)


def _listed(text: str, gpus: Sequence[Gpu], places: Mapping[str, int]) -> list[Gpu]:
    chosen: list[Gpu] = []
    for word in (entry.strip() for entry in text.split(",")):
        if word.isdigit():
            found = [gpu for gpu in gpus if places[gpu.uuid] == int(word)]
        elif word.startswith(("GPU-", "MIG-", "AMD-")):
            found = [gpu for gpu in gpus if gpu.uuid.startswith(word)]
            if len(found) > 1 and word not in [gpu.uuid for gpu in found]:
                found = []
        else:
            found = []
        if not found:
            break
        chosen += [gpu for gpu in found if gpu not in chosen]
    return chosen


def resolve(request: GpuRequest, gpus: Sequence[Gpu], machine: Machine | None = None) -> Asked:
    """Make ``request`` definite among the visible ``gpus`` of a ``machine``.

    Raises InputError where more is asked than could ever be had, and where any is asked on a machine without GPUs.
    """
    if request.count == 0:
        return Asked(0, ())
    machine = devices.machine(load=False) if machine is None else machine
    if not gpus:
        raise RequestError("gpus", f"asks for {_number(request.count)}, but {why_none(machine)}", _way_out(machine))
    allowed = _allowed(request, gpus, machine)
    count = len(allowed) if request.count is None else request.count
    if not 1 <= request.per_gpu <= MAX_SHARE:
        raise RequestError("per_gpu", f"{request.per_gpu} runs cannot share a GPU", f"Let 1 to {MAX_SHARE} share it.")
    if count < 0:
        raise RequestError("gpus", f"{count} is no number of GPUs", "Write 0 or more, or all.")
    if count > len(allowed):
        raise RequestError(
            "gpus",
            f"asks for {_number(count)}, and only {len(allowed)} may be used here: {_handles(allowed)}",
            "Ask for fewer, or allow more (gpus_allowed, CUDA_VISIBLE_DEVICES).",
        )
    if count + request.keep_free > len(machine.gpus):
        raise RequestError(
            "keep_free",
            f"{request.keep_free} for others and {count} for each run are more than there are: this machine has "
            f"{_number(len(machine.gpus))}",
            "Keep fewer free, or ask for fewer.",
        )
    large = [gpu for gpu in allowed if gpu.memory_total >= request.memory]
    if len(large) < count:
        most = max(gpu.memory_total for gpu in allowed)
        many = f"{len(large) or 'none'} {'have' if len(large) > 1 else 'has'} so much"
        raise RequestError(
            "gpu_memory",
            f"{request.memory / 1e9:.1f} GB can never be free on {_number(count)}: of those that may be used {many}, "
            f"and the largest has {most / 1e9:.1f} GB in all",
            "Ask for less; a driver always takes a little of it.",
        )
    return Asked(count, tuple(large) if request.count is not None else tuple(allowed))


def why_none(machine: Machine) -> str:
    """Why no GPU may be used here, where none may."""
    if machine.gpus:
        return "CUDA_VISIBLE_DEVICES (or its like) hides every GPU here"
    why = f" ({machine.reason})" if machine.reason else ""
    return f"this machine's GPUs do not answer{why}" if machine.broken else f"this machine has no GPU{why}"


def _allowed(request: GpuRequest, gpus: Sequence[Gpu], machine: Machine) -> list[Gpu]:
    if request.allowed is None:
        return list(gpus)
    exist = sorted({gpu.index for gpu in machine.gpus})
    wrong = [index for index in request.allowed if index not in exist]
    lost = dict(machine.lost)
    for index in wrong:
        if index in lost:
            way = f"See what nvidia-smi says of it, or choose from the others: {', '.join(map(str, exist))}."
            raise RequestError("gpus_allowed", f"GPU {index} does not answer: its driver says {lost[index]!r}", way)
    if wrong:
        here = ", ".join(map(str, exist))
        raise RequestError(
            "gpus_allowed", f"there is no GPU {wrong[0]} here", f"Choose from those of this machine: {here}."
        )
    allowed = [gpu for gpu in gpus if gpu.index in request.allowed]
    if not allowed:
        raise RequestError(
            "gpus_allowed",
            f"CUDA_VISIBLE_DEVICES (or its like) hides {', '.join(map(str, request.allowed))} here",
            f"Choose from those that it leaves ({_handles(gpus)}), or unset it.",
        )
    return allowed


def _way_out(machine: Machine) -> str:
    """What to do where no GPU may be used."""
    if machine.gpus:
        return "Unset it, or write gpus: 0"
    return "See what nvidia-smi says, or write gpus: 0" if machine.broken else "Write gpus: 0"


def _number(count: int | None) -> str:
    return "all GPUs" if count is None else "1 GPU" if count == 1 else f"{count} GPUs"


def _handles(gpus: Sequence[Gpu]) -> str:
    return ", ".join(gpu.handle for gpu in gpus) or "none"
