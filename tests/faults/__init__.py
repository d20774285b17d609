"""The fault suite: sweeps whose runs keep a tally of their own, killed at random and at chosen moments."""
