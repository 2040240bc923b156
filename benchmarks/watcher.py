"""A client that reads the same events as an open page."""

import os

import requests

if __name__ == "__main__":
    server = f"{os.environ['RESONATE_HOST']}:{os.environ['RESONATE_PORT_STORE']}"
    with requests.get(f"{server}/watch", stream=True, timeout=(5, None)) as stream:
        print("watching", flush=True)
        for _ in stream.iter_lines(None):  # type: ignore[call-overload]
            pass
