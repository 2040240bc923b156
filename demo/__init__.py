"""The whole tutorial in one command: `python -m demo 10`.

- `__main__`: the command line, and the summary at the end.
- `director`: follows the processes and the keys, and kills.
- `run`: the model of a run that the views draw.
- `board`, `lines`, `timeline`: the live board, plain lines, and the picture.
- `keys`: the keys that the user presses.
"""
