"""The data on disk, and every way in which it changes.

- `database`: the SQLite file. `schema.sql`: its tables.
- `promises`, `tasks`, `schedules`: the transitions. Each is a few statements that belong together.
- `deadlines`: the transitions that happen because time passes.
- `changes`: what is new to a watcher.
- `processes`: connections, and starts of the server.
- `rows`: reading, inserting and searching rows.

No transition begins or commits a transaction. The caller does, around any number of transitions.
No transition uses HTTP. The time is an argument: ms since the epoch.
"""
