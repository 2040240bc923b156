"""A sturdier connection for the Resonate SDK.

`Resonate` is the SDK's class. Its `remote` connects to the same server with the same arguments, and
differs in three ways: it keeps its connections open, it says what is wrong and what to do, and it
keeps running where the SDK would exit the process.
"""

from plumbing.resonate import Resonate

__all__ = ["Resonate"]
