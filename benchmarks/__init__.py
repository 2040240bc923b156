"""Measurements of the recursion's speed, on devserver and on other servers."""
