"""A small durable server for one machine that speaks the legacy Resonate protocol.

It answers like `resonate serve` (up to v0.8.2), and stores its data in SQLite.

- `store`: promises, callbacks and tasks on disk, and the transitions that change them.
- `engine`: runs transitions, many in one commit, and acts on their results.
- `api`: the HTTP routes of the API port. `requests` and `responses` read and write their content.
- `connections`, `stream`: the open message streams, and the message port.
- `page`, `watch`: the page for browsers, and its stream of events.
- `server`: puts both ports together. `auth`: basic authentication. `guard`: refuses web pages.
- `address`, `errors`, `models`: the protocol's vocabulary.
"""
