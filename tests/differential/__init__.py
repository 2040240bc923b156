"""The devserver held against the real server: the same requests, the same answers.

- `sequences`: what is asked.
- `play`: asks it of a server, and makes the answers comparable.
- `record`: `python -m tests.differential.record --resonate BINARY` writes what the real server
  answers to `recorded/`, one file a sequence and one line a step.
- `test_differential`: compares with those answers, and with a live server where there is one.
"""
