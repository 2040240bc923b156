"""`devserver`, or `python -m devserver`: the command line."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    sys.exit("devserver: This runs on Linux and macOS. On Windows, run it in WSL.")

import argparse
import os
import signal
import socket
import sqlite3
from contextlib import ExitStack, closing
from functools import partial
from io import TextIOWrapper
from ipaddress import ip_address
from pathlib import Path

# Until `main` runs, Ctrl-C ends the process without a traceback: the imports take a while.
signal.signal(signal.SIGINT, signal.SIG_DFL)

from devserver.http.guard import parse_host  # noqa: E402
from devserver.server import serve  # noqa: E402
from devserver.store.database import DatabaseError, LostFileError, open_database  # noqa: E402

MEMORY_ONLY = "memory only. It is lost when the server stops."


def main() -> int:
    """Run the server until it gets a signal to stop.

    Returns:
        The exit code.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)  # until the server installs its own handlers
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path can be any text
    args = _parse_arguments()
    path = ":memory:" if args.memory else str(Path(args.db).absolute())
    os.umask(0o077)  # other users cannot read the data
    try:
        with ExitStack() as stack:
            api, poll = (
                [stack.enter_context(listener) for listener in _listen(args.host, port)]
                for port in (args.port, args.poll_port)
            )
            db = stack.enter_context(closing(open_database(path)))
            auth = _auth(args, api[0])
            greeting = (
                f"Resonate API on {_url(api[0])}, messages on {_url(poll[0])}\n"
                f"Data in {MEMORY_ONLY if args.memory else path}\n"
                f"Watch it at {_page(api[0])}"
            )
            # Through an unspecified address, browsers hide which page sent a request; see `Guard`.
            names = {args.host, socket.gethostname()} - {None, "0.0.0.0", "::"}  # noqa: S104
            try:
                serve(
                    db,
                    api,
                    poll,
                    url=_url(api[0]),
                    started=partial(_say, greeting),
                    auth=auth,
                    names=names.union(args.allow_host),
                )
                db.check_files()
            finally:
                _ignore_signals()  # Python resets the handlers before the process ends
    except KeyboardInterrupt:
        pass
    except (DatabaseError, LostFileError, _UsageError) as e:
        print(f"devserver: {e}", file=sys.stderr)
        return 1
    except sqlite3.Error as e:
        print(f"devserver: {DatabaseError.of(path, e)}", file=sys.stderr)
        print("devserver stopped. All acknowledged data is safe.", file=sys.stderr)
        return 1
    _say("devserver stopped")
    return 0


def _stop(*_: object) -> None:
    _ignore_signals()  # the next signal would interrupt the cleanup
    raise KeyboardInterrupt


def _ignore_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _say(text: str) -> None:
    """Print a line. The server does not depend on stdout, which may be closed or full."""
    try:
        print(text, flush=True)
    except OSError:
        # Python flushes stdout again at exit: that must not fail too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="devserver",
        description="A small durable server for one machine. For the Resonate Python SDK 0.6.x, "
        "it replaces the legacy `resonate serve` (up to v0.8.2).",
    )
    parser.add_argument(
        "--host", help="the address to listen on (default: 127.0.0.1 and ::1, for this machine)"
    )
    parser.add_argument(
        "--port",
        type=int,
        default=os.environ.get("RESONATE_PORT_STORE", "8001"),
        help="the port of the API (default: $RESONATE_PORT_STORE, or 8001)",
    )
    parser.add_argument(
        "--poll-port",
        type=int,
        default=os.environ.get("RESONATE_PORT_MESSAGE_SOURCE", "8002"),
        help="the port for messages (default: $RESONATE_PORT_MESSAGE_SOURCE, or 8002)",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--db",
        default="devserver.db",
        help="the SQLite file for all data (default: devserver.db)",
    )
    where.add_argument("--memory", action="store_true", help="keep the data in memory only")
    parser.add_argument(
        "--username",
        default=os.environ.get("RESONATE_USERNAME"),
        help="require this user name and the password (default: $RESONATE_USERNAME)",
    )
    parser.add_argument(
        "--password",
        default=os.environ.get("RESONATE_PASSWORD"),
        help="the password (default: $RESONATE_PASSWORD, which other users cannot see)",
    )
    parser.add_argument(
        "--allow-host",
        type=_host_name,
        action="append",
        default=[],
        metavar="NAME",
        help="another host name of this server, such as the name of a proxy in front of it "
        "(besides localhost, IP addresses, the name of this machine, and --host); repeatable",
    )
    return parser.parse_args()


def _host_name(text: str) -> str:
    host = parse_host(text)
    if host is None or text.lower().removesuffix(".") != host[0]:
        raise argparse.ArgumentTypeError(f"{text!r} is not a host name without a scheme or a port")
    return host[0]


def _auth(args: argparse.Namespace, listener: socket.socket) -> tuple[str, str] | None:
    if args.username and args.password:
        return args.username, args.password
    if args.username or args.password:
        raise _UsageError("Use --username and --password together")
    if not ip_address(listener.getsockname()[0]).is_loopback:
        raise _UsageError(
            f"Not listening on {args.host} without a password, because other machines could "
            "reach the data. Use --username and --password."
        )
    return None


class _UsageError(Exception):
    pass


def _listen(host: str | None, port: int) -> list[socket.socket]:
    if host is not None:
        return [_bind(host, port)]
    # `localhost` can mean either address. Some machines do not have the second one.
    first = _bind("127.0.0.1", port)
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        return [first]
    return [first, _bind("::1", first.getsockname()[1])]


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as e:
        reason, _, _ = (e.strerror or str(e)).partition(" (while")  # the rest repeats the address
        raise _UsageError(
            f"Cannot listen on {host}:{port}: {reason}. "
            "Use --port and --poll-port to choose others."
        ) from e
    except OverflowError as e:
        raise _UsageError(
            f"Cannot listen on {host}:{port}: the port must be from 0 to 65535"
        ) from e


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _page(listener: socket.socket) -> str:
    """Return the URL of the page for a browser."""
    host, port = listener.getsockname()[:2]
    if host in {"127.0.0.1", "::1"}:
        return f"http://localhost:{port}/"
    if ip_address(host).is_unspecified:
        return f"http://{socket.gethostname()}:{port}/"
    return f"{_url(listener)}/"


if __name__ == "__main__":
    sys.exit(main())
