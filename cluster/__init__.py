"""The server, the workers and the clients as real processes, for the demo, tests and benchmarks.

- `processes`: one program, its output, and how it ends.
- `cluster`: a server with its data, and the workers and clients that find it.
"""

from cluster.cluster import ROOT, Cluster, free_ports
from cluster.processes import GRACE, PATIENCE, Process, ProcessError

__all__ = ["GRACE", "PATIENCE", "ROOT", "Cluster", "Process", "ProcessError", "free_ports"]
