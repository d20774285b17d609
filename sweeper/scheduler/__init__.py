"""Who runs next: the one process that starts the runs of a sweep, N windows at once or as a chain.

The invariants that this package keeps (DESIGN.md has them all):
- Whoever holds the sweep's lock is its scheduler; it is taken first and given back last, under the launch lock.
- A freed slot is filled before anything is written down; the database follows, windows come last.
- It may be killed at any moment: runs go on without it, and the next one adopts those whose lock is held.
- It sleeps in epoll until a supervisor, the command line or a pidfd wakes it.
"""
