"""A small durable server for one machine that speaks the legacy Resonate protocol.

It answers like `resonate serve` (up to v0.8.2), and stores its data in SQLite.

A request takes this way: `http` reads it, `engine` runs a transition of `store` and commits it,
`http` answers. Then the messages that it led to leave over `connections`.

- `server`, `__main__`: start, ports, signals, the command line.
- `http`: the API and the message port, and what protects them.
- `page`: the page for browsers, and its stream of events.
- `engine`: runs transitions, many in one commit, and acts on their results.
- `connections`: the open message streams.
- `store`: promises, callbacks and tasks on disk, and the transitions that change them.
"""
