"""The tests: of single parts, and of real processes with real kills."""
