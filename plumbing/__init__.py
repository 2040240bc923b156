"""What the two scripts need besides the recursion: a connection, and plain words when it fails.

`Worker` and `Client` are `Resonate.remote(...)` with the manners of a good terminal program: they
say what is wrong and what to do, keep their connections open, and carry on where the SDK would
end the process.
"""

from plumbing.client import Client
from plumbing.terminal import shortened
from plumbing.worker import Worker

__all__ = ["Client", "Worker", "shortened"]
