"""The page for browsers: its HTML, CSS and JavaScript, and the events that it draws.

- `routes`: serves the files.
- `watch`: the stream of events.
"""
