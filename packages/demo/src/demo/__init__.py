"""The whole tutorial in one command: `python -m demo 10`.

- `__main__`: the command line, and the summary at the end.
- `director`: follows the processes and the keys, and kills.
- `run`: the model of a run, from the lines that the workers print.
- `board`: shows the run while it lasts.
- `keys`: reads single keys from the terminal.
- `crashes`: runs the recursion again and again, and kills at each step of the protocol.
- `proxy`: a proxy in front of the server that reports each step of the protocol.
- `cluster`, `processes`: the server, the workers and the clients as real processes.
"""
