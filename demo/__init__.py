"""The whole tutorial in one command: `python -m demo 10`.

- `__main__`: the command line, and the summary at the end.
- `director`: follows the processes and the keys, and kills.
- `run`: the model of a run, from the lines that the workers print.
- `board`, `lines`: show the run while it lasts.
- `keys`: reads single keys from the terminal.
- `crashes`: kills at chosen steps.
"""
