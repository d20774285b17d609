"""Coverage-guided and property-based attacks on everything that reads what people, programs and other users wrote."""

NAMES = ("sweep_file", "values", "commands", "names", "logs", "holders", "packets", "run_files")  # of the targets
