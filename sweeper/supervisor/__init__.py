"""One attempt at a run: take the locks, run the command in a terminal of its own, keep the log, write the outcome.

The invariants that this package keeps (DESIGN.md has them all):
- The run's lock is taken before anything else and closed last; the command inherits it.
- An outcome is written once, by rename, and is on disk before anybody is told of it.
- This process is the subreaper of everything the run starts: nothing of a run outlives it, and "no children left" means
  that nothing of it lives.
- It goes on alone when its scheduler dies; only a run that has not begun leaves with it.
"""
