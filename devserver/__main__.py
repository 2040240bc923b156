"""`python -m devserver`: the command line."""

from __future__ import annotations

import argparse
import signal
import socket
import sys
from contextlib import closing
from pathlib import Path

from devserver.server import serve
from devserver.store.database import DatabaseError, open_database


def main() -> int:
    """Run the server until it is told to stop.

    Returns:
        The exit code.
    """
    args = _parse_arguments()
    path = ":memory:" if args.memory else str(Path(args.db).absolute())
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # until the server takes over
    try:
        with (
            _bind(args.host, args.port) as api,
            _bind(args.host, args.poll_port) as poll,
            closing(open_database(path)) as db,
        ):
            greeting = (
                f"Resonate API on {_url(api)}, messages on {_url(poll)}\n"
                f"Data in {'memory: gone when this stops' if args.memory else path}"
            )
            serve(db, api, poll, _url(api), lambda: print(greeting, flush=True))
    except KeyboardInterrupt:
        pass
    except (DatabaseError, _PortError) as e:
        print(f"devserver: {e}", file=sys.stderr)
        return 1
    print("devserver stopped")
    return 0


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m devserver",
        description="A small durable server for one machine: what the legacy `resonate serve` "
        "(up to v0.8.2) is to the Resonate Python SDK 0.6.x.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument("--port", type=int, default=8001, help="the port of the API")
    parser.add_argument("--poll-port", type=int, default=8002, help="the port of the messages")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--db", default="devserver.db", help="the SQLite file with all data")
    where.add_argument("--memory", action="store_true", help="keep everything in memory only")
    return parser.parse_args()


class _PortError(Exception):
    pass


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as e:
        reason, _, _ = (e.strerror or str(e)).partition(" (while")  # the address once more
        raise _PortError(f"Cannot listen on {host}:{port}: {reason}") from e
    except OverflowError as e:
        raise _PortError(f"Cannot listen on {host}:{port}: no such port") from e


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


if __name__ == "__main__":
    sys.exit(main())
