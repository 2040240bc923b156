"""A sturdier connection for the Resonate SDK.

`Resonate` is the SDK's class, and its `remote` takes the same arguments. The connection differs in
three ways: it stays open between requests, its errors say what is wrong and what to do, and the
program keeps running where the SDK would exit the process.
"""

from plumbing.resonate import Resonate

__all__ = ["Resonate"]
