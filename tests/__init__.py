"""The tests of the tutorial: what the README and the pages say."""
