"""Kills processes at chosen steps of the protocol: `--crash-everywhere` and `--point`.

- `points`: the points at which a process can be killed, and the record of a run.
- `cluster`: one run, with kills at chosen points.
- `everywhere`: a run for each point, and their verdicts.
- `table`: shows the verdicts.
- `onlooker`: follows one slow run with the demo's board or lines.
- `commands`: the two commands.
"""
