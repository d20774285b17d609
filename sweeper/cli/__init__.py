"""What was typed -> one plan, which is then carried out; the only module that prints a result or exits."""

from sweeper.cli.main import main

__all__ = ["main"]
