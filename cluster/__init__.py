"""The server, the workers and the clients as real processes, for the demo, tests and benchmarks.

- `processes`: one program, its output, and its end.
- `reaper`: kills these programs if the one that started them ends without stopping them.
- `forked`: starts Python programs in a fraction of the time.
- `proxy`: a proxy between them and the server that knows each step of the protocol.
- `cluster`: a server with its data, and the workers and clients on it.
"""

from cluster.cluster import ROOT, Cluster, free_ports
from cluster.processes import PATIENCE, Process, ProcessError

__all__ = ["PATIENCE", "ROOT", "Cluster", "Process", "ProcessError", "free_ports"]
