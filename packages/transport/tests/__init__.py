"""The tests of the connection."""
