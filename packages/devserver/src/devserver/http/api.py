"""The API port: promises, callbacks, tasks and schedules over HTTP, and the page beside them."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, cast

from starlette.applications import Starlette
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.routing import Match, Route

from devserver.http.requests import (
    cursor_of,
    process_of_path,
    read_body,
    read_caller,
    read_search,
    read_task,
    task_of_path,
)
from devserver.http.responses import HEADERS, answer, refuse
from devserver.store import promises, schedules, tasks
from devserver.store.errors import Code, ProtocolError
from devserver.store.models import (
    ClaimTask,
    CompletePromise,
    CreateCallback,
    CreatePromise,
    CreatePromiseAndTask,
    CreateSchedule,
    CreateSubscription,
    Heartbeat,
    Promise,
    TaskRef,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from starlette.requests import Request
    from starlette.types import Lifespan

    from devserver.engine import Engine
    from devserver.http.stream import Stream


# The lease of a task that is claimed by its link.
TTL_OF_LINKS_MS = 60_000


class _IdConvertor(StringConvertor):
    """A promise's id in a path: any text, including slashes and newlines."""

    regex = "(?s:.*)"


register_url_convertor("id", _IdConvertor())


def api_app(
    engine: Engine,
    stream: Stream,
    others: Iterable[Route],
    *,
    url: str,
    lifespan: Lifespan[Starlette],
) -> Starlette:
    """Create the application of the API port.

    Args:
        engine: runs the transitions that the requests ask for.
        stream: answers the clients that receive their messages on this port too.
        others: routes of the page, which are not part of the API.
        url: where clients find this application, for the links in its answers.
        lifespan: runs when the server starts and stops.
    """
    api = _Api(engine, url)
    app = Starlette(
        routes=[
            _route("POST", "/promises", api.create_promise),
            _route("GET", "/promises", api.search_promises),
            _route("POST", "/promises/task", api.create_promise_and_task),
            _route("POST", "/promises/callback/{id:id}", api.create_callback),
            _route("POST", "/promises/subscribe/{id:id}", api.create_subscription),
            _route("GET", "/promises/{id:id}", api.get_promise),
            _route("PATCH", "/promises/{id:id}", api.complete_promise),
            _route("POST", "/tasks/claim", api.claim_task),
            _route("GET", "/tasks/claim/{id}/{counter}", api.claim_task),
            _route("POST", "/tasks/complete", api.complete_task),
            _route("GET", "/tasks/complete/{id}/{counter}", api.complete_task),
            _route("POST", "/tasks/drop", api.drop_task),
            _route("GET", "/tasks/drop/{id}/{counter}", api.drop_task),
            _route("POST", "/tasks/heartbeat", api.heartbeat),
            _route("GET", "/tasks/heartbeat/{id}/{counter}", api.heartbeat),
            _route("POST", "/schedules", api.create_schedule),
            _route("GET", "/schedules", api.search_schedules),
            _route("GET", "/schedules/{id:id}", api.get_schedule),
            _route("DELETE", "/schedules/{id:id}", api.delete_schedule),
            # The SDKs before 0.6.4 use these two instead of /promises/callback and /subscribe.
            _route("POST", "/callbacks", api.create_callback),
            _route("POST", "/subscriptions", api.create_subscription),
            # The TypeScript SDKs from 0.8 on use this one instead of the other port.
            _route("GET", "/poll/{rest:id}", stream.on_api_port),
            _route("GET", "/ping", api.ping),
            *others,
        ],
        exception_handlers={
            ProtocolError: _refused,
            sqlite3.Error: _store_failed,
            HTTPException: _no_route,
        },
        lifespan=lifespan,
    )
    # `_no_route` redirects as the real server does.
    app.router.redirect_slashes = False
    return app


def _route(method: str, path: str, endpoint: Callable[[Request], Awaitable[Response]]) -> Route:
    route = Route(path, endpoint)
    # Not HEAD, which Starlette adds to GET: here a GET can claim a task.
    route.methods = {method}
    return route


class _Api:
    def __init__(self, engine: Engine, url: str) -> None:
        self._engine = engine
        self._url = url

    async def ping(self, _: Request) -> Response:
        return answer(200, {"status": "ok"})

    async def get_promise(self, request: Request) -> Response:
        promise_id = request.path_params["id"]
        promise = await self._engine.run(lambda db, now: promises.get(db, promise_id, now))
        return answer(200, promise)

    async def create_promise(self, request: Request) -> Response:
        body = await read_body(request, CreatePromise)
        caller = read_caller(request)
        created, promise = await self._engine.run(
            lambda db, now: promises.create(db, body, caller, now)
        )
        return answer(201 if created else 200, promise)

    async def create_promise_and_task(self, request: Request) -> Response:
        body = await read_body(request, CreatePromiseAndTask)
        caller = read_caller(request)
        created, promise, task = await self._engine.run(
            lambda db, now: promises.create_with_task(db, body, caller, now)
        )
        return answer(201 if created else 200, {"promise": promise, "task": task})

    async def complete_promise(self, request: Request) -> Response:
        promise_id = request.path_params["id"]
        body = await read_body(request, CompletePromise)
        caller = read_caller(request)
        completed, promise = await self._engine.run(
            lambda db, now: promises.complete(db, promise_id, body, caller, now)
        )
        return answer(201 if completed else 200, promise)

    async def create_callback(self, request: Request) -> Response:
        body = await read_body(request, CreateCallback)
        promise_id = request.path_params.get("id", body.promise_id)
        caller = read_caller(request)
        callback, promise = await self._engine.run(
            lambda db, now: promises.create_callback(db, promise_id, body, caller, now)
        )
        return answer(201 if callback else 200, {"callback": callback, "promise": promise})

    async def create_subscription(self, request: Request) -> Response:
        body = await read_body(request, CreateSubscription)
        promise_id = request.path_params.get("id", body.promise_id)
        caller = read_caller(request)
        callback, promise = await self._engine.run(
            lambda db, now: promises.create_subscription(db, promise_id, body, caller, now)
        )
        return answer(201 if callback else 200, {"callback": callback, "promise": promise})

    async def search_promises(self, request: Request) -> Response:
        query = read_search(request, has_states=True)
        found, is_cut = await self._engine.run(lambda db, now: promises.search(db, query, now))
        cursor = cursor_of(query, [place for place, _ in found], is_cut=is_cut)
        return answer(200, {"promises": [promise for _, promise in found], "cursor": cursor})

    async def claim_task(self, request: Request) -> Response:
        if request.method == "GET":
            task = task_of_path(request)
            body = ClaimTask(
                id=task.id,
                counter=task.counter,
                process_id=process_of_path(task),
                ttl=TTL_OF_LINKS_MS,
            )
        else:
            body = await read_task(request, ClaimTask)
        self._engine.spoke(body.process_id)
        claim = await self._engine.run(lambda db, now: tasks.claim(db, body, now), durable=False)

        def entry(promise_id: str, promise: Promise | None) -> dict[str, Any]:
            href = f"{self._url}/promises/{promise_id}"
            return {"id": promise_id, "href": href, "data": promise}

        about = {"root": entry(claim.root_id, claim.root)}
        if claim.type == "resume":
            about["leaf"] = entry(claim.leaf_id, claim.leaf)
        return answer(201, {"type": claim.type, "promises": about})

    async def complete_task(self, request: Request) -> Response:
        body = await self._task_ref(request)
        completed, task = await self._engine.run(
            lambda db, now: tasks.complete(db, body, now), durable=False
        )
        return answer(201 if completed else 200, task)

    async def drop_task(self, request: Request) -> Response:
        body = await self._task_ref(request)
        dropped = await self._engine.run(lambda db, now: tasks.drop(db, body, now))
        return Response(None, 201 if dropped else 200, HEADERS)

    async def heartbeat(self, request: Request) -> Response:
        if request.method == "GET":
            process_id = process_of_path(task_of_path(request))
        else:
            process_id = (await read_body(request, Heartbeat)).process_id
        self._engine.spoke(process_id)
        affected = await self._engine.run(
            lambda db, now: tasks.heartbeat(db, process_id, now), durable=False
        )
        return answer(200, {"tasksAffected": affected})

    async def _task_ref(self, request: Request) -> TaskRef:
        return (
            task_of_path(request) if request.method == "GET" else await read_task(request, TaskRef)
        )

    async def create_schedule(self, request: Request) -> Response:
        body = await read_body(request, CreateSchedule)
        caller = read_caller(request)
        created, schedule = await self._engine.run(
            lambda db, now: schedules.create(db, body, caller, now)
        )
        return answer(201 if created else 200, schedule)

    async def search_schedules(self, request: Request) -> Response:
        query = read_search(request, has_states=False)
        found = await self._engine.run(lambda db, _: schedules.search(db, query))
        cursor = cursor_of(query, [place for place, _ in found])
        return answer(200, {"schedules": [schedule for _, schedule in found], "cursor": cursor})

    async def get_schedule(self, request: Request) -> Response:
        schedule_id = request.path_params["id"]
        schedule = await self._engine.run(lambda db, _: schedules.get(db, schedule_id))
        return answer(200, schedule)

    async def delete_schedule(self, request: Request) -> Response:
        schedule_id = request.path_params["id"]
        await self._engine.run(lambda db, _: schedules.delete(db, schedule_id))
        return Response(None, 204, HEADERS)


async def _refused(_: Request, error: Exception) -> Response:
    return refuse(cast("ProtocolError", error))


async def _store_failed(_: Request, failure: Exception) -> Response:
    # The SDK retries after a 500, so nothing is lost once the store works again.
    return refuse(ProtocolError(Code.STORE, str(failure)))


async def _no_route(request: Request, _: Exception) -> Response:
    """Redirect to the path with or without the slash at its end, if that one exists."""
    scope = request.scope
    if scope["path"].endswith("/"):
        path, location = scope["path"][:-1], scope["raw_path"][:-1]
    else:
        path, location = scope["path"] + "/", scope["raw_path"] + b"/"
    other = {**scope, "path": path}
    if not any(route.matches(other)[0] == Match.FULL for route in request.app.routes):
        return Response("404 page not found", 404)
    if scope["query_string"]:
        location += b"?" + scope["query_string"]
    return RedirectResponse(location.decode("ascii"), 301 if request.method == "GET" else 307)
