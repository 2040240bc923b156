"""The data on disk, and all changes to it.

- `database`: the SQLite file. `schema.sql`: its tables.
- `promises`, `tasks`, `schedules`: the transitions. Each is a few statements that belong together.
- `dispatch`: which messages are sent now, and which wait.
- `cron`: the times of a schedule.
- `deadlines`: the transitions that happen because time passes.
- `changes`: the changes that a watcher has not seen.
- `processes`: connections, and starts of the server.
- `models`, `address`, `errors`: the protocol's vocabulary.
- `rows`: reading, inserting and searching rows.

A transition does not begin or commit a transaction: the caller does, around any number of
transitions. A transition does not use HTTP. The time is an argument, in ms since the epoch.
"""
