"""sweep: hyperparameter sweeps on shared GPU servers."""
