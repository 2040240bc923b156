"""The whole story in one command: a server, workers, and a client that asks them.

- `__main__`: the command line, and what is shown of a run.
- `processes`: starts and stops the processes; the tests use it too.
"""
