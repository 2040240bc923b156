"""The devserver compared with the real server: the same requests, the same answers.

- `play`: sends them to a server, and makes the answers comparable.
- `answers`: the requests and the real server's answers, recorded in `recorded/`.
- `record`: `python -m tests.differential.record --resonate=BINARY` records them again.
- `test_differential`: compares devserver with the recorded answers, and with a live server if
  pytest is given one.
"""
