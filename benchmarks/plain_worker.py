"""The tutorial's function on the SDK's own connection, as `Resonate.remote` makes it."""

from threading import Event

from resonate import Resonate

from factorial_worker import factorial

resonate = Resonate.remote(group="factorial-worker")
resonate.register(factorial.func, name="factorial")
resonate.set_dependency("pace", 0)

if __name__ == "__main__":
    resonate.start()
    print("Factorial worker is running...", flush=True)
    Event().wait()
