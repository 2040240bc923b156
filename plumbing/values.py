"""Reads the values of promises as data, so that they cannot run code.

The SDK writes each value twice: as JSON, and with jsonpickle in a header. When it reads a value, it
prefers the header. jsonpickle calls any function that the text names, so a program that can create
a promise could run code in the workers. This module reads the JSON, and uses the header only for
the names of types.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, override

from resonate.encoders import JsonEncoder
from resonate.models.durable_promise import DurablePromise, DurablePromiseValue
from resonate.models.result import Ko
from resonate.options import Options

if TYPE_CHECKING:
    from resonate.models.encoder import Encoder
    from resonate.models.result import Result

    type Parts = tuple[dict[str, str] | None, str | None]

HEADER: Final = "resonate:format-py"
JSON: Final = Options(encoder=JsonEncoder()).get_encoder()


class Promise(DurablePromise):
    """A promise whose value is read as data. A value that cannot be read becomes an error."""

    @override
    def result(self, encoder: Encoder[Any, Parts]) -> Result[Any]:
        # The SDK asks more than once, and a value may have thousands of digits.
        if "known" not in vars(self):
            try:
                self.known = super().result(_DataOnly(encoder))
            except Exception as e:  # noqa: BLE001 - the encoder may be the caller's own
                self.known = Ko(ValueError(f"The value of promise {self.id} cannot be read: {e}"))
        return self.known


class _DataOnly:
    """The SDK's encoder, which here does not decode jsonpickle."""

    def __init__(self, encoder: Encoder[Any, Parts]) -> None:
        self._encoder = encoder

    def encode(self, obj: Any) -> Parts:
        return self._encoder.encode(obj)

    def decode(self, obj: Parts) -> Any:
        headers, data = obj
        others = dict(headers or {})
        pickled = others.pop(HEADER, "null")
        value = self._encoder.decode((others, data))
        # The SDK's JSON has an exception's message, and only the header has its type.
        if pickled != "null" and not data:
            raise ValueError("it is stored only as jsonpickle, which is not supported")
        if '"py/' in pickled and data:
            form = json.loads(pickled)
            if isinstance(value, BaseException):
                name = _type_name(form).rpartition(".")[2]
                return value if name == "Exception" else Exception(f"{name}: {value}")
            _check(form, json.loads(data))
        return value


def read_call(promise: DurablePromise) -> tuple[DurablePromise, Any]:
    """Read the call that a promise represents.

    Returns:
        The promise without its jsonpickle header, and the call as its JSON describes it.

    Raises:
        ValueError: the call cannot be read.
    """
    call = _DataOnly(JSON).decode(promise.param.to_tuple())
    return replace(promise, param=DurablePromiseValue(None, promise.param.data)), call


def _check(pickled: Any, value: Any) -> None:
    """Check that the JSON form of a value has everything that the jsonpickle form has."""
    if isinstance(pickled, list) and isinstance(value, list):
        for one, other in zip(pickled, value, strict=False):
            _check(one, other)
    elif isinstance(pickled, dict):
        if "py/tuple" in pickled:
            _check(pickled["py/tuple"], value)
        elif value == {} and "py/id" not in pickled and any(k.startswith("py/") for k in pickled):
            name = _type_name(pickled)
            raise ValueError(f"it contains an object ({name}), and only JSON is supported")
        elif isinstance(value, dict):
            for key in pickled.keys() & value.keys():
                _check(pickled[key], value[key])


def _type_name(pickled: Any) -> str:
    match pickled:
        case {"py/reduce": [{"py/type": str(name)}, *_]} | {"py/object": str(name)}:
            return name
        case dict() if pickled:
            return str(next(iter(pickled)))
        case _:
            return "object"
