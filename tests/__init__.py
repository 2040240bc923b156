"""The tests: of the parts by themselves, and of real processes with real kills."""
