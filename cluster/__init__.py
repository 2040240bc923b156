"""The server, the workers and the clients as real processes, for the demo, tests and benchmarks.

- `cluster`: a server with its data, and its workers and clients.
- `processes`: one program and its output.
- `forked`: starts a Python program faster, by a fork.
- `reaper`: removes the processes and folders that a killed program leaves behind.
- `proxy`: a proxy in front of the server that reports each step of the protocol.
"""

from cluster.cluster import ROOT, Cluster, free_ports
from cluster.processes import PATIENCE, Process, ProcessError

__all__ = ["PATIENCE", "ROOT", "Cluster", "Process", "ProcessError", "free_ports"]
