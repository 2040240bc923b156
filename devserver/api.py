"""The API port: promises, callbacks and tasks over HTTP."""

from __future__ import annotations

import logging
import sqlite3
from typing import TYPE_CHECKING, Any, cast

from msgspec import DecodeError
from msgspec.json import Decoder, Encoder
from starlette.applications import Starlette
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.responses import Response
from starlette.routing import Route

from devserver.errors import Code, ProtocolError
from devserver.models import (
    ClaimTask,
    CompletePromise,
    CompleteTask,
    CreateCallback,
    CreatePromise,
    CreatePromiseAndTask,
    CreateSubscription,
    Heartbeat,
    Promise,
)
from devserver.store import promises, tasks
from devserver.store.promises import Caller

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Lifespan

    from devserver.engine import Engine

logger = logging.getLogger(__name__)

_encode = Encoder().encode

CREATE_PROMISE = Decoder(CreatePromise)
CREATE_PROMISE_AND_TASK = Decoder(CreatePromiseAndTask)
COMPLETE_PROMISE = Decoder(CompletePromise)
CREATE_CALLBACK = Decoder(CreateCallback)
CREATE_SUBSCRIPTION = Decoder(CreateSubscription)
CLAIM_TASK = Decoder(ClaimTask)
COMPLETE_TASK = Decoder(CompleteTask)
HEARTBEAT = Decoder(Heartbeat)

# Which spellings of a boolean the protocol's header takes.
_BOOLEANS = dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True) | dict.fromkeys(
    ("0", "f", "F", "false", "FALSE", "False", ""), False
)


class _IdConvertor(StringConvertor):
    """A promise's id in a path: any text, slashes and newlines too."""

    regex = "(?s:.+)"


register_url_convertor("id", _IdConvertor())


def api_app(engine: Engine, lifespan: Lifespan[Starlette]) -> Starlette:
    """Make the application of the API port.

    Args:
        engine: runs what the requests ask for.
        lifespan: what is to happen as the server starts and stops.
    """
    api = _Api(engine)
    return Starlette(
        routes=[
            Route("/promises", api.create_promise, methods=["POST"]),
            Route("/promises/task", api.create_promise_and_task, methods=["POST"]),
            Route("/promises/callback/{id:id}", api.create_callback, methods=["POST"]),
            Route("/promises/subscribe/{id:id}", api.create_subscription, methods=["POST"]),
            Route("/promises/{id:id}", api.get_promise, methods=["GET"]),
            Route("/promises/{id:id}", api.complete_promise, methods=["PATCH"]),
            Route("/tasks/claim", api.claim_task, methods=["POST"]),
            Route("/tasks/complete", api.complete_task, methods=["POST"]),
            Route("/tasks/heartbeat", api.heartbeat, methods=["POST"]),
        ],
        exception_handlers={ProtocolError: _refused, sqlite3.Error: _store_failed},
        lifespan=lifespan,
    )


class _Api:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def get_promise(self, request: Request) -> Response:
        promise_id = request.path_params["id"]
        promise = await self._engine.run(lambda db, now: promises.get(db, promise_id, now))
        return _answer(200, promise)

    async def create_promise(self, request: Request) -> Response:
        body = await _body(request, CREATE_PROMISE)
        caller = _caller(request)
        created, promise = await self._engine.run(
            lambda db, now: promises.create(db, body, caller, now)
        )
        return _answer(201 if created else 200, promise)

    async def create_promise_and_task(self, request: Request) -> Response:
        body = await _body(request, CREATE_PROMISE_AND_TASK)
        caller = _caller(request)
        created, promise, task = await self._engine.run(
            lambda db, now: promises.create_with_task(db, body, caller, now)
        )
        return _answer(201 if created else 200, {"promise": promise, "task": task})

    async def complete_promise(self, request: Request) -> Response:
        promise_id = request.path_params["id"]
        body = await _body(request, COMPLETE_PROMISE)
        caller = _caller(request)
        completed, promise = await self._engine.run(
            lambda db, now: promises.complete(db, promise_id, body, caller, now)
        )
        return _answer(201 if completed else 200, promise)

    async def create_callback(self, request: Request) -> Response:
        promise_id = request.path_params["id"]
        body = await _body(request, CREATE_CALLBACK)
        callback, promise = await self._engine.run(
            lambda db, now: promises.create_callback(db, promise_id, body, now)
        )
        return _answer(201 if callback else 200, {"callback": callback, "promise": promise})

    async def create_subscription(self, request: Request) -> Response:
        promise_id = request.path_params["id"]
        body = await _body(request, CREATE_SUBSCRIPTION)
        callback, promise = await self._engine.run(
            lambda db, now: promises.create_subscription(db, promise_id, body, now)
        )
        return _answer(201 if callback else 200, {"callback": callback, "promise": promise})

    async def claim_task(self, request: Request) -> Response:
        body = await _body(request, CLAIM_TASK)
        claim = await self._engine.run(lambda db, now: tasks.claim(db, body, now))

        def entry(promise_id: str, promise: Promise | None) -> dict[str, Any]:
            href = f"{request.base_url}promises/{promise_id}"
            return {"id": promise_id, "href": href, "data": promise}

        about = {"root": entry(claim.root_id, claim.root)}
        if claim.type == "resume":
            about["leaf"] = entry(claim.leaf_id, claim.leaf)
        return _answer(201, {"type": claim.type, "promises": about})

    async def complete_task(self, request: Request) -> Response:
        body = await _body(request, COMPLETE_TASK)
        completed, task = await self._engine.run(lambda db, now: tasks.complete(db, body, now))
        return _answer(201 if completed else 200, task)

    async def heartbeat(self, request: Request) -> Response:
        body = await _body(request, HEARTBEAT)
        affected = await self._engine.run(lambda db, now: tasks.heartbeat(db, body.process_id, now))
        return _answer(200, {"tasksAffected": affected})


async def _body[T](request: Request, shape: Decoder[T]) -> T:
    try:
        return shape.decode(await request.body())
    except (DecodeError, UnicodeDecodeError) as e:
        raise ProtocolError(Code.INVALID, str(e)) from e


def _caller(request: Request) -> Caller:
    strict = _BOOLEANS.get(request.headers.get("strict", ""))
    if strict is None:
        raise ProtocolError(Code.INVALID, "The header strict must be true or false.")
    return Caller(request.headers.get("idempotency-key"), strict)


def _answer(status: int, content: object) -> Response:
    return Response(_encode(content), status, media_type="application/json")


def _error(error: ProtocolError) -> Response:
    details = [{"message": error.detail}] if error.detail else []
    content = {"code": error.code, "message": str(error), "details": details}
    return _answer(error.code.status, {"error": content})


async def _refused(_: Request, error: Exception) -> Response:
    return _error(cast("ProtocolError", error))


async def _store_failed(request: Request, error: Exception) -> Response:
    # The SDK tries again after a 500, so nothing is lost once the store works again.
    logger.error("%s %s: the database failed: %s", request.method, request.url.path, error)
    return _error(ProtocolError(Code.INTERNAL, str(error)))
