"""The devserver compared with the real server: the same requests, the same answers.

- `recorded/`: the requests and the real server's answers, one file a sequence, one line a step.
- `play`: sends them to a server, and makes the answers comparable.
- `record`: `python -m tests.differential.record --resonate=BINARY` records the answers again.
- `test_differential`: compares devserver with the recorded answers, and with a live server if
  pytest is given one.
"""
