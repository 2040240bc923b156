"""What is kept on disk, and every way in which it changes.

- `database`: the SQLite file, `schema.sql` what is in it.
- `promises`, `tasks`, `schedules`: the transitions, each a few statements that belong together.
- `deadlines`: what happens because time passes.
- `changes`: what is new to somebody who watches.
- `rows`: reading promises and tasks, and searching.

No transition begins or commits: whoever calls it does, around as many as it likes. None
knows of HTTP or of connections, and the time is an argument: ms since the epoch.
"""
