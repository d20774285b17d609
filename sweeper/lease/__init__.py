"""Take GPUs by file lock, first come first served; across sweeps, users and crashes.

The invariants that this package keeps:
- A GPU is given to a second run only when nothing holds its lock, its guard or a claim on it, and its driver shows no
  process that is left of the first.
- What a run holds is held by descriptors that everything it starts inherits; the kernel gives it back with the last.
- Nobody who is stopped or killed, at any moment, keeps a GPU that he does not hold, or the others from theirs.
- Nothing in the shared folder is believed but who owns a file and whether it is locked; nobody's file is written but
  one's own.
"""

from sweeper.lease.devices import Gpu, GpuProcess, all_gpus
from sweeper.lease.folder import admin_command
from sweeper.lease.hold import Lease
from sweeper.lease.waiter import Waiter
from sweeper.lease.words import Wait

__all__ = ["Gpu", "GpuProcess", "Lease", "Wait", "Waiter", "admin_command", "all_gpus"]
