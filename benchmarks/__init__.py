"""What sweep costs, measured beside its peers in the same run: ``python -m benchmarks`` prints the table."""
