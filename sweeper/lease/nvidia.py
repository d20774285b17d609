"""NVIDIA's GPUs through nvidia-ml-py; the only importer of pynvml."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sweeper.lease.devices import Gpu, GpuProcess, Machine

MODULE = Path("/proc/driver/nvidia/gpus")
_started = False
_MEMORY_V2 = 0x02000028  # sizeof(nvmlMemory_v2_t) | 2 << 24


def read(*, load: bool) -> Machine:
    """Every GPU that the driver shows, MIG instances in place of the GPUs that are cut into them.

    No driver, no library, one that fails to start: no GPUs, and the reason. A GPU that falls off the bus is left out.
    A driver that was started again makes whatever the library knew worthless: then it is started again, too, once.
    """
    import pynvml as nvml

    fresh = not _started
    try:
        _start(nvml)
        count = nvml.nvmlDeviceGetCount()
    except nvml.NVMLError as error:
        stop()
        if not fresh:
            return read(load=load)
        absent = isinstance(error, (nvml.NVMLError_LibraryNotFound, nvml.NVMLError_DriverNotLoaded))
        kernel = _kernel()
        return Machine((), f"NVIDIA's driver: {str(error).rstrip('.')}{kernel}", broken=bool(kernel) or not absent)
    gpus: list[Gpu] = []
    lost = []
    for index in range(count):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            instances = _instances(nvml, handle)
            if instances is None:
                gpus.append(_gpu(nvml, handle, index, load=load, mig=False))
            else:
                gpus += [_gpu(nvml, instance, index, load=False, mig=True) for instance in instances]
        except nvml.NVMLError as error:
            lost.append((index, str(error)))
    if lost and not gpus and not fresh:
        stop()
        return read(load=load)
    reason = "; ".join(f"GPU {index}: {why}" for index, why in lost)
    return Machine(tuple(gpus), reason, broken=bool(lost), lost=tuple(lost))


def _kernel() -> str:
    """What the kernel's module shows of GPUs that the library says nothing about."""
    try:
        count = len(os.listdir(MODULE))
    except OSError:
        return ""
    return f", though its kernel module has {count} GPU{'s' if count > 1 else ''}" if count else ""


def stop() -> None:
    """Let the library go; the next reading starts it again."""
    global _started
    if _started:
        import pynvml as nvml

        _started = False
        try:
            nvml.nvmlShutdown()
        except nvml.NVMLError:
            return  # the driver was unloaded meanwhile: nothing is left to let go


def _start(nvml: Any) -> None:
    """Start the library once a process: it takes tens of milliseconds, on some machines seconds."""
    global _started
    if not _started:
        nvml.nvmlInit()
        _started = True


def _gpu(nvml: Any, handle: Any, index: int, *, load: bool, mig: bool) -> Gpu:
    total, used = _memory(nvml, handle)
    return Gpu(
        index=index,
        uuid=str(nvml.nvmlDeviceGetUUID(handle)),
        name=str(nvml.nvmlDeviceGetName(handle)),
        vendor="nvidia",
        memory_total=total,
        memory_used=used,
        utilization=_utilization(nvml, handle) if load else None,
        processes=_processes(nvml, handle),
        mig=mig,
    )


def _memory(nvml: Any, handle: Any) -> tuple[int, int]:
    """(total, used) in bytes. The second version counts apart what the driver keeps for itself, hundreds of MB."""
    try:
        info = nvml.nvmlDeviceGetMemoryInfo(handle, version=_MEMORY_V2)
    except (nvml.NVMLError_FunctionNotFound, nvml.NVMLError_NotSupported, nvml.NVMLError_InvalidArgument):
        info = nvml.nvmlDeviceGetMemoryInfo(handle)
    return int(info.total), int(info.used)


def _utilization(nvml: Any, handle: Any) -> int | None:
    try:
        return int(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
    except (nvml.NVMLError_FunctionNotFound, nvml.NVMLError_NotSupported):
        return None


def _processes(nvml: Any, handle: Any) -> tuple[GpuProcess, ...]:
    for ask in (nvml.nvmlDeviceGetComputeRunningProcesses_v3, nvml.nvmlDeviceGetComputeRunningProcesses_v2):
        try:
            return tuple(GpuProcess(int(found.pid), found.usedGpuMemory) for found in ask(handle))
        except nvml.NVMLError_FunctionNotFound:
            continue
        except (nvml.NVMLError_NotSupported, nvml.NVMLError_NoPermission):
            return ()
    return ()


def _instances(nvml: Any, handle: Any) -> list[Any] | None:
    """The MIG instances of a GPU in MIG mode; None for one that is used as a whole."""
    missing = (nvml.NVMLError_NotFound, nvml.NVMLError_InvalidArgument)
    try:
        if nvml.nvmlDeviceGetMigMode(handle)[0] != nvml.NVML_DEVICE_MIG_ENABLE:
            return None
        slots = nvml.nvmlDeviceGetMaxMigDeviceCount(handle)
    except (nvml.NVMLError_FunctionNotFound, nvml.NVMLError_NotSupported):
        return None
    found = []
    for slot in range(slots):
        try:
            found.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, slot))
        except missing:
            continue
    return found
