"""The proxy between the processes and the server cleans up after itself."""

from __future__ import annotations

import gc
import socket

from demo.proxy import Proxy


def test_a_proxy_that_ends_leaves_no_connection_open() -> None:
    """A connection that opened or closed as the proxy ended used to stay open, once in ten runs."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for _ in range(50):
            with Proxy(lambda _: True) as proxy:
                proxy.ports = port, port
                api, _ = proxy.ports_for("client")
                clients = [socket.create_connection(("127.0.0.1", api)) for _ in range(4)]
                for client in clients:
                    client.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
                for _ in clients:
                    server.accept()[0].close()
                for client in clients:
                    client.close()
            gc.collect()  # raises the warning of an object that was not closed
