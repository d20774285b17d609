"""AMD's GPUs through /sys/class/drm, and the processes on them through /sys/class/kfd."""

from __future__ import annotations

import os
from pathlib import Path

from sweeper.lease.devices import Gpu, GpuProcess, Machine

_VENDOR = "0x1002"
_LEAST = 2 << 30  # bytes: what has less of its own is the processor's graphics


def read(sys: Path) -> Machine:
    """Every AMD GPU with memory of its own, in the order of their PCI addresses, as the driver's tools count them."""
    found = []
    try:
        cards = sorted(name for name in os.listdir(sys / "class/drm") if name.startswith("card") and "-" not in name)
    except OSError:
        return Machine((), "there is no /sys/class/drm")
    for card in cards:
        device = sys / "class/drm" / card / "device"
        total = _number(device / "mem_info_vram_total")
        if _text(device / "vendor") == _VENDOR and total:
            found.append((os.path.basename(os.path.realpath(device)), device, total))
    processes = _processes(sys) if found else {}
    gpus = []
    for index, (address, device, total) in enumerate(sorted(found)):  # all are counted, as HIP counts them
        if total < _LEAST:
            continue
        unique = _text(device / "unique_id")
        gpus.append(
            Gpu(
                index=index,
                uuid=f"GPU-{unique}" if unique and set(unique) != {"0"} else f"AMD-{address}",
                name=_text(device / "product_name") or "AMD GPU",
                vendor="amd",
                memory_total=total,
                memory_used=_number(device / "mem_info_vram_used") or 0,
                utilization=_number(device / "gpu_busy_percent"),
                processes=tuple(processes.get(address, ())),
            )
        )
    return Machine(tuple(gpus))


def _processes(sys: Path) -> dict[str, list[GpuProcess]]:
    """PCI address -> the processes there. The kernel lists them by process and by a number of the GPU's own."""
    addresses = {}
    for node in _names(sys / "class/kfd/kfd/topology/nodes"):
        folder = sys / "class/kfd/kfd/topology/nodes" / node
        number = _text(folder / "gpu_id")
        properties = dict(line.split(maxsplit=1) for line in _text(folder / "properties").splitlines() if " " in line)
        try:
            place, domain = int(properties.get("location_id", "0")), int(properties.get("domain", "0"))
        except ValueError:
            continue
        if number and number != "0":
            addresses[number] = f"{domain:04x}:{place >> 8 & 0xFF:02x}:{place >> 3 & 0x1F:02x}.{place & 7}"
    found: dict[str, list[GpuProcess]] = {}
    for pid in _names(sys / "class/kfd/kfd/proc"):
        for name in _names(sys / "class/kfd/kfd/proc" / pid):
            address = addresses.get(name.removeprefix("vram_"))
            if pid.isdigit() and name.startswith("vram_") and address is not None:
                memory = _number(sys / "class/kfd/kfd/proc" / pid / name)
                if memory:  # a process opens every GPU and computes on those where it has memory
                    found.setdefault(address, []).append(GpuProcess(int(pid), memory))
    return found


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdigit() else None
