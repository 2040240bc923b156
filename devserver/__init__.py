"""A small durable server for one machine that speaks the legacy Resonate protocol.

What `resonate serve` (up to v0.8.2) answers to the SDK 0.6.x, on SQLite:

- `store`: promises, callbacks and tasks on disk, and how they change.
- `engine`: runs those changes, many in one commit, and acts on what they led to.
- `api`: the HTTP routes of the API port; `requests`, `responses`: what goes in and out there.
- `connections`, `stream`: who listens on the message port, and who gets a message.
- `page`, `watch`: what a person sees of it in a browser, and the stream that tells the page.
- `server`: both ports and what is behind them, put together; `auth`: the door.
- `address`, `errors`, `models`: the protocol's vocabulary.
"""
