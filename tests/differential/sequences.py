"""The requests that both servers must answer in the same way."""

from __future__ import annotations

import random
from itertools import product
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.differential.play import Step

FAR = 4_000_000_000_000
# For each state of a promise, the fields that create it, and the state that completes it.
BEGINNINGS: dict[str, tuple[dict[str, Any], str | None]] = {
    "pending": ({}, None),
    "resolved": ({}, "RESOLVED"),
    "rejected": ({}, "REJECTED"),
    "canceled": ({}, "REJECTED_CANCELED"),
    "timed out": ({"timeout": "@-1000"}, None),
    "timer": ({"timeout": "@-1000", "tags": {"resonate:timeout": "true"}}, None),
}
COMPLETIONS = ("RESOLVED", "REJECTED", "REJECTED_CANCELED")
ACTIONS = ("claim", "complete", "drop", "heartbeat")
SETTLE: Step = {"settle": 0.03}


def send(method: str, path: str, body: Any = None, **headers: str | None) -> Step:
    named = {name.replace("_", "-"): value for name, value in headers.items() if value}
    return {"send": [method, path, named, body]}


def create(promise: str, key: str | None = None, strict: str | None = None, **fields: Any) -> Step:
    body = {"id": promise, "timeout": FAR, **fields}
    return send("POST", "/promises", body, idempotency_key=key, strict=strict)


def complete(
    promise: str, state: str, key: str | None = None, strict: str | None = None, **fields: Any
) -> Step:
    body = {"state": state, **fields}
    return send("PATCH", f"/promises/{promise}", body, idempotency_key=key, strict=strict)


def get(promise: str) -> Step:
    return send("GET", f"/promises/{promise}")


def claim(task: str, counter: int, process: str = "me", ttl: int = 60_000) -> Step:
    body = {"id": task, "counter": counter, "processId": process, "ttl": ttl}
    return send("POST", "/tasks/claim", body)


def task(action: str, name: str, counter: int) -> Step:
    return send("POST", f"/tasks/{action}", {"id": name, "counter": counter})


def heartbeat(process: str = "me") -> Step:
    return send("POST", "/tasks/heartbeat", {"processId": process})


def callback(leaf: str, root: str, recv: Any = "poll://any@nobody", timeout: int = FAR) -> Step:
    body = {"rootPromiseId": root, "recv": recv, "timeout": timeout}
    return send("POST", f"/promises/callback/{leaf}", body)


def subscribe(promise: str, name: str, recv: Any = "poll://any@nobody") -> Step:
    body = {"id": name, "recv": recv, "timeout": FAR}
    return send("POST", f"/promises/subscribe/{promise}", body)


def invoked(address: str) -> dict[str, Any]:
    return {"tags": {"resonate:invoke": address}}


def begin(promise: str, state: str, key: str | None) -> list[Step]:
    fields, completion = BEGINNINGS[state]
    steps = [create(promise, key, **fields)]
    if completion:
        steps.append(complete(promise, completion, key, value={"data": "AQI="}))
    return steps


def creations() -> list[Step]:
    """Create a promise that exists, in each state, with each key and strictness."""
    steps: list[Step] = []
    cases = product(BEGINNINGS, (None, "a"), (None, "a", "b"), (None, "true", "false"))
    for i, (state, first, second, strict) in enumerate(cases):
        promise = f"creation-{i}"
        steps += [*begin(promise, state, first), create(promise, second, strict), get(promise)]
    return steps


def completions() -> list[Step]:
    """Complete a promise in each state, in each way, with each key and strictness."""
    steps: list[Step] = []
    cases = product(BEGINNINGS, COMPLETIONS, (None, "a"), (None, "a", "b"), (None, "true", "False"))
    for i, (state, completion, first, second, strict) in enumerate(cases):
        promise = f"completion-{i}"
        steps += begin(promise, state, first)
        steps += [complete(promise, completion, second, strict), get(promise)]
    return steps


def with_task() -> list[Step]:
    """Create promises together with a claimed task."""
    steps: list[Step] = []
    cases = product(BEGINNINGS, (None, "a"), (None, "a"), (None, "true"), (True, False))
    for i, (state, first, second, strict, is_invoked) in enumerate(cases):
        promise = f"with-task-{i}"
        tags = invoked("poll://any@nobody") if is_invoked else {}
        body = {
            "promise": {"id": promise, "timeout": FAR, **tags},
            "task": {"processId": f"process-{i}", "ttl": 60_000},
        }
        if i % 2:
            steps += begin(promise, state, first)
        for _ in range(2):
            headers = {"idempotency_key": second, "strict": strict}
            steps.append(send("POST", "/promises/task", body, **headers))
        steps += [heartbeat(f"process-{i}"), claim(f"__invoke:{promise}", 1)]
        steps += [task("complete", f"__invoke:{promise}", 1), get(promise)]
    return steps


def task_life() -> list[Step]:
    """Take a task through its states, with every invalid request in each of them."""

    def wrong_turns(name: str, counter: int) -> list[Step]:
        steps = [SETTLE]
        for wrong in (counter - 1, counter + 1, -1):
            steps += [claim(name, wrong), task("complete", name, wrong), task("drop", name, wrong)]
        link = f"{name}/{counter + 1}"
        return steps + [send("GET", f"/tasks/{action}/{link}") for action in ACTIONS]

    steps: list[Step] = [create("root", **invoked("poll://any@nobody"))]
    name = "__invoke:root"
    steps += [*wrong_turns(name, 1), task("complete", name, 1), task("drop", name, 1)]
    steps += [claim(name, 1), *wrong_turns(name, 1), claim(name, 1), heartbeat()]
    steps += [task("drop", name, 1), *wrong_turns(name, 2), claim(name, 1)]
    steps += [send("GET", f"/tasks/claim/{name}/2"), send("GET", f"/tasks/heartbeat/{name}/2")]
    steps += [create("leaf"), callback("leaf", "root"), callback("leaf", "root")]
    steps += [send("GET", f"/tasks/complete/{name}/2"), task("complete", name, 2)]
    steps += [*wrong_turns(name, 2), complete("leaf", "RESOLVED"), callback("leaf", "root")]
    resume = "__resume:root:leaf"
    steps += [*wrong_turns(resume, 1), claim(resume, 1), *wrong_turns(resume, 1)]
    steps += [complete("root", "REJECTED", value={"headers": {"a": "b"}}), SETTLE]
    steps += [claim(resume, 1), task("complete", resume, 1), task("drop", resume, 1)]
    # Tasks of a root promise that is already completed, or does not exist.
    steps += [create("late"), callback("late", "root"), complete("late", "RESOLVED"), SETTLE]
    steps += [claim("__resume:root:late", 1)]
    steps += [create("orphan"), callback("orphan", "absent"), complete("orphan", "RESOLVED")]
    steps += [SETTLE, claim("__resume:absent:orphan", 1)]
    # Requests in the name of a task that another process has claimed.
    steps += [create("fenced", **invoked("poll://any@nobody"))]
    for counter in ("1", "2", "x", "-1"):
        fence = {"task_id": "__invoke:fenced", "task_counter": counter}
        body = {"rootPromiseId": "fenced", "recv": "poll://any@nobody", "timeout": FAR}
        attempts = [
            send("POST", "/promises", {"id": f"by-fenced-{counter}", "timeout": FAR}, **fence),
            send("POST", "/promises/callback/fenced-leaf", body, **fence),
            send("PATCH", "/promises/absent", {"state": "RESOLVED"}, **fence),
        ]
        steps += [*attempts, claim("__invoke:fenced", 1), create("fenced-leaf"), *attempts]
    fence = {"task_id": "__invoke:fenced", "task_counter": "1"}
    steps += [send("PATCH", "/promises/fenced", {"state": "resolved"}, **fence)]
    return steps


def leases() -> list[Step]:
    """Let leases expire, or renew them."""
    steps: list[Step] = [{"listen": "leases/one"}]
    steps += [create("leased", **invoked("poll://any@leases/one")), {"receive": "leases/one"}]
    steps += [claim("__invoke:leased", 1, "one", ttl=1000), {"wait": 2.5}]
    steps += [{"receive": "leases/one"}, claim("__invoke:leased", 1, "one")]
    steps += [task("complete", "__invoke:leased", 1), heartbeat("one")]
    steps += [claim("__invoke:leased", 2, "one", ttl=4000), {"wait": 2}, heartbeat("one")]
    steps += [{"wait": 2.5}, heartbeat("one"), task("complete", "__invoke:leased", 2)]
    steps += [heartbeat("one")]
    # A dropped task is sent again at once, and a timer resumes the task that waits for it.
    steps += [create("dropped", **invoked("poll://any@leases/one")), {"receive": "leases/one"}]
    steps += [claim("__invoke:dropped", 1, "one"), task("drop", "__invoke:dropped", 1)]
    steps += [{"receive": "leases/one"}, claim("__invoke:dropped", 2, "one")]
    steps += [create("alarm", timeout="@+12000", tags={"resonate:timeout": "true"})]
    steps += [callback("alarm", "dropped", "poll://any@leases/one")]
    steps += [subscribe("alarm", "me", "poll://uni@leases/one")]
    steps += [task("complete", "__invoke:dropped", 2), {"wait": 5}]
    return [*steps, {"receive": "leases/one"}, {"receive": "leases/one"}, get("alarm")]


def routing() -> list[Step]:
    """Send messages to addresses of every form."""
    steps: list[Step] = [{"listen": "Routing/one"}, {"listen": "default/two"}]
    steps += [{"listen": "routing/a/b"}]
    reached = {
        "Routing/one": [
            "poll://any@Routing",
            "poll://uni@Routing/one",
            "poll://any@Routing/absent",
            "poll://ANY@Routing/one",
            "poll://Routing",
            "poll://Routing/one",
            '{"type": "poll", "data": {"cast": "any", "group": "Routing"}}',
            '{"type": "poll", "data": {"cast": "uni", "group": "Routing", "id": "one"}}',
        ],
        "default/two": ["default"],
        "routing/a/b": ["poll://uni@routing/a/b"],
    }
    for stream, addresses in reached.items():
        for i, address in enumerate(addresses):
            promise = f"to-{stream.replace('/', '-')}-{i}"
            steps += [create(promise, **invoked(address)), {"receive": stream}]
    away = ["poll://uni@Routing/absent", "poll://uni@Routing", "poll://all@Routing/one"]
    away += ["poll://any@ROUTING", "nowhere", "Routing", "http://", "", "5", "true", "{}"]
    away += [
        '{"type": "", "data": {}}',
        '{"type": "poll", "data": {"cast": "any", "group": "Routing"}, "more": 1}',
        '{"type": "pigeon", "data": {}}',
    ]
    for i, address in enumerate(away):
        promise = f"away-{i}"
        steps += [create(promise, **invoked(address)), SETTLE, claim(f"__invoke:{promise}", 1)]
    steps += [{"silence": "Routing/one"}]
    # Callbacks and subscriptions: as text, as an object, and what the message carries.
    for i, recv in enumerate(
        ("poll://uni@Routing/one", {"type": "poll", "data": {"cast": "any", "group": "Routing"}})
    ):
        leaf, root = f"leaf-{i}", f"root-{i}"
        steps += [
            create(root),
            create(leaf),
            callback(leaf, root, recv),
            subscribe(leaf, "s", recv),
        ]
        steps += [complete(leaf, "RESOLVED", "k", value={"data": "AQI=", "headers": {"h": "v"}})]
        # Both have their own root, so the server may send them in either order.
        steps += [{"receive": "Routing/one"}, claim(f"__resume:{root}:{leaf}", 1)]
        steps += [{"receive": "Routing/one"}]
    traced = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    body = {"id": "traced", "timeout": FAR, **invoked("poll://any@Routing")}
    steps += [send("POST", "/promises", body, **traced, tracestate="a=b")]
    steps += [{"receive": "Routing/one"}]
    steps += [create("delayed", tags={"resonate:invoke": "poll://any@Routing"} | {"x": "y"})]
    return [*steps, {"receive": "Routing/one"}]


def search() -> list[Step]:
    """Search in every way, and follow cursors."""
    steps: list[Step] = []
    states = list(BEGINNINGS)
    for i in range(24):
        fields, completion = BEGINNINGS[states[i % len(states)]]
        tags = fields.get("tags", {}) | {"color": ("red", "green")[i % 2], "n": str(i % 3)}
        promise = f"search.{i % 4}.{i}"
        steps.append(create(promise, **(fields | {"tags": tags})))
        if completion:
            steps.append(complete(promise, completion))
    patterns = """search* search.1.* *.5 SEARCH.1.5 search.1.5 search_1.5 search%251* nothing
        search*&state=pending search*&state=RESOLVED search*&state=Rejected
        search*&tags[color]=red search*&tags[color]=red&tags[n]=1 search*&tags[color]=blue
        search*&tags[absent]=red search*&state=pending&tags[n]=0&limit=1
        search*&limit=0 search*&limit=24 search*&limit=23"""
    steps += [send("GET", f"/promises?id={pattern}") for pattern in patterns.split()]
    steps.append(send("GET", "/promises?id=search*&limit=7&tags[color]=green"))
    steps += [send("GET", "/promises?cursor=<cursor>")]
    steps.append(send("GET", "/promises?id=search*&limit=5&state=rejected"))
    steps += [send("GET", "/promises?cursor=<cursor>")] * 2
    bad = ["", "id=", "id=x&state=", "id=x&state=odd", "id=x&limit=-1", "id=x&limit=101"]
    bad += ["id=x&limit=many", "cursor=odd", "id=x&cursor=odd", "state=pending", "id=x&cursor="]
    return steps + [send("GET", f"/promises?{query}") for query in bad]


def schedules() -> list[Step]:
    """Create, find, run and delete schedules."""

    def schedule(name: str, key: str | None = None, **fields: Any) -> Step:
        body = {"id": name, "cron": "* * * * *", "promiseId": "p", "promiseTimeout": 1, **fields}
        return send("POST", "/schedules", body, idempotency_key=key)

    steps: list[Step] = []
    for first, second in product((None, "a"), (None, "a", "b")):
        name = f"schedule-{first}-{second}"
        steps += [schedule(name, first), schedule(name, second, cron="0 0 * * *")]
    extras: dict[str, Any] = {
        "desc": "what for",
        "tags": {"color": "red"},
        "promiseTags": {"x": "y"},
        "promiseParam": {"headers": {"a": "b"}, "data": "AQI="},
        "promiseTimeout": 100_000,
    }
    steps += [schedule("full", **extras), send("GET", "/schedules/full")]
    for cron in ("@hourly", "@daily", "0 0 1 1 *", "*/5 * * * *", "0 */5 * * * *", "0 0 * * MON"):
        steps.append(schedule(f"cron {cron}", cron=cron))
    for cron in ("", "odd", "* * *", "61 * * * *", "* * * * * * *", "@never"):
        steps.append(schedule("bad", cron=cron))
    queries = ["id=*", "id=schedule*&limit=2", "id=*&tags[color]=red", "id=*&tags[color]=blue"]
    queries += ["id=schedule*&limit=2", "cursor=<cursor>", "", "id=", "id=*&limit=101", "cursor=x"]
    steps += [send("GET", f"/schedules?{query}") for query in queries]
    every_second: dict[str, Any] = extras | {
        "cron": "* * * * * *",
        "promiseId": "run.{{.id}}.{{.timestamp}}",
    }
    steps += [schedule("often", **every_second), {"wait": 3.2}]
    steps += [send("GET", "/promises?id=run.often.*&limit=1"), send("GET", "/schedules/often")]
    steps += [send("DELETE", "/schedules/often")] * 2
    return [*steps, send("GET", "/schedules/often"), send("DELETE", "/schedules/absent")]


def malformed() -> list[Step]:
    """Send malformed requests."""
    endpoints: dict[str, dict[str, Any]] = {
        "POST /promises": {"id": "x", "timeout": 1, "param": {"data": "AQI="}, "tags": {"a": "b"}},
        "POST /promises/task": {
            "promise": {"id": "x", "timeout": 1},
            "task": {"processId": "p", "ttl": 1},
        },
        "PATCH /promises/absent": {"state": "RESOLVED", "value": {"headers": {"a": "b"}}},
        "POST /promises/callback/absent": {"rootPromiseId": "r", "recv": "x", "timeout": 1},
        "POST /promises/subscribe/absent": {"id": "s", "recv": "x", "timeout": 1},
        "POST /tasks/claim": {"id": "absent", "counter": 1, "processId": "p", "ttl": 1},
        "POST /tasks/complete": {"id": "absent", "counter": 1},
        "POST /tasks/drop": {"id": "absent", "counter": 1},
        "POST /tasks/heartbeat": {"processId": "absent"},
        "POST /schedules": {"id": "x", "cron": "bad", "promiseId": "p", "promiseTimeout": 1},
    }
    odd: list[Any] = [None, "", "x", 0, 1, -1, 1.5, True, [], {}, 2**63, -(2**63) - 1]
    steps: list[Step] = []
    for endpoint, body in endpoints.items():
        method, path = endpoint.split()
        texts = ["", "{", "[]", "5", '"x"', "null", "{}", '{"id"}', "\x00"]
        steps += [send(method, path, text) for text in texts]
        for field in body:
            without = {name: value for name, value in body.items() if name != field}
            steps.append(send(method, path, without))
            for value in odd:
                if field == "id" and value == "x":
                    continue  # not malformed
                steps.append(send(method, path, body | {field: value}))
    data = ["AQI", "AQI=", "*", "A", "", "AQ==", "-_==", "_w==", "/w=="]
    steps += [create(f"data-{i}", param={"data": text}) for i, text in enumerate(data)]
    for strict in ("1", "t", "T", "TRUE", "True", "0", "f", "F", "FALSE", "yes", "2", "tRue"):
        steps.append(create(f"strict-{strict}", strict=strict))
    for state in ("resolved", "Rejected", "rejected_canceled", "PENDING", "REJECTED_TIMEDOUT", ""):
        steps += [create(f"state-{state}"), complete(f"state-{state}", state)]
    for i, name in enumerate(
        ("a/b", "/a", "a/", "a b", "a%25b", "a?b", "a#b", "ü", "a'b", "*", "..")
    ):
        quoted = name.replace("?", "%3F").replace("#", "%23").replace(" ", "%20")
        steps += [create(f"id-{i}-{name}".replace("%25", "%")), get(f"id-{i}-{quoted}")]
    lines = "GET /nowhere,PUT /promises/x,DELETE /promises/x,GET /promises/"
    lines += ",GET /tasks/claim/absent/1,GET /tasks/claim/absent/x,GET /tasks/heartbeat/absent/1"
    lines += ",GET /schedules/absent,GET /ping"
    return steps + [send(*line.split()) for line in lines.split(",")]


def headers() -> list[Step]:
    """Send headers with odd values."""
    steps: list[Step] = []
    fences = ["0", "-1", "+1", "007", "", "x", "1.5", "1_0", "\u0663"]
    fences += [str(2**63 - 1), str(2**63), str(-(2**63) - 1)]
    for i, counter in enumerate(fences):
        body = {"id": f"fenced-{i}", "timeout": FAR}
        named = {"task-counter": counter}
        steps.append({"send": ["POST", "/promises", {"task-id": "absent", **named}, body]})
        steps.append({"send": ["POST", "/promises", named, body]})
        if counter:
            steps += [send("GET", f"/tasks/{action}/absent/{counter}") for action in ACTIONS]
    steps.append({"send": ["POST", "/promises", {"task-id": ""}, {"id": "free", "timeout": FAR}]})
    for i, key in enumerate(("schl\u00fcssel", "", "a\tb", "\u2192")):
        body = {"id": f"key-{i}", "timeout": FAR}
        steps += [{"send": ["POST", "/promises", {"idempotency-key": key}, body]}] * 2
    return steps


def routes() -> list[Step]:
    """Ask for every route in every way, and use those that only some SDKs use."""
    steps: list[Step] = []
    paths = ["/promises", "/promises/task", "/promises/callback", "/promises/callback/p"]
    paths += ["/promises/subscribe", "/promises/subscribe/p", "/promises/p", "/callbacks"]
    paths += ["/subscriptions", "/schedules", "/schedules/s", "/ping", "/poll"]
    paths += [f"/tasks/{action}" for action in ACTIONS]
    paths += [f"/tasks/{action}/t/1" for action in ACTIONS]
    for path in paths:
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            steps += [send(method, path, ""), send(method, f"{path}/", "")]
    steps += [
        send("GET", path) for path in ("/tasks/claim/t", "/tasks/claim/t/u/1", "//promises/p")
    ]
    steps += [send(method, "/poll/group") for method in ("GET", "HEAD", "POST")]
    steps += [send("POST", "/promises/?a=b%20c", "{}"), send("GET", "/tasks/claim/a%20b/1/")]
    # The routes of SDKs before 0.6.4, and the stream of the TypeScript SDKs from 0.8 on.
    steps += [{"listen": "/poll/old/one"}, create("old-root"), create("old-leaf")]
    body: dict[str, Any] = {"promiseId": "old-leaf", "recv": "poll://any@old", "timeout": FAR}
    for fields in ({"rootPromiseId": "old-root"}, {"rootPromiseId": "old-leaf"}, {}):
        steps += [send("POST", "/callbacks", body | fields)] * 2
    for fields in ({"id": "told"}, {"id": "told", "promiseId": ""}, {}):
        steps += [send("POST", "/subscriptions", body | fields)] * 2
    steps += [
        complete("old-leaf", "RESOLVED", value={"data": "AQI="}),
        {"receive": "/poll/old/one"},
    ]
    steps += [claim("__resume:old-root:old-leaf", 1), {"receive": "/poll/old/one"}]
    steps += [send("POST", "/callbacks", body | {"rootPromiseId": "old-root"})]
    steps += [create("by-poll", **invoked("poll://uni@old/one")), {"receive": "/poll/old/one"}]
    return steps


def walk(seed: int) -> list[Step]:
    """Send 150 random requests about a few promises."""
    choose = random.Random(seed).choice
    names = [f"walk-{seed}-{i}" for i in range(5)]
    keys, stricts = (None, "a", "b"), (None, "true", "false")
    nobody = invoked("poll://any@nobody")
    tags: list[dict[str, Any]] = [{}, {}, nobody, nobody]
    steps: list[Step] = []
    while len(steps) < 150:
        name, other, counter = choose(names), choose(names), choose((1, 1, 1, 2))
        work = choose((f"__invoke:{name}", f"__resume:{name}:{other}"))
        kind = choose(("create", "create", "get", "complete", "callback", "subscribe"))
        kind = choose((kind, "claim", "finish", "drop", "with task"))
        match kind:
            case "create":
                steps.append(create(name, choose(keys), choose(stricts), **choose(tags)))
            case "with task":
                promise = {"id": name, "timeout": FAR, **choose(tags)}
                body = {"promise": promise, "task": {"processId": "me", "ttl": 60_000}}
                headers = {"idempotency_key": choose(keys), "strict": choose(stricts)}
                steps.append(send("POST", "/promises/task", body, **headers))
            case "get":
                steps.append(get(name))
            case "complete":
                state = choose(COMPLETIONS)
                steps.append(complete(name, state, choose(keys), choose(stricts)))
            case "callback":
                steps.append(callback(name, other))
            case "subscribe":
                steps.append(subscribe(name, choose(("s", "t"))))
            case "claim":
                steps += [SETTLE, claim(work, counter)]
            case "finish":
                steps += [SETTLE, task("complete", work, counter)]
            case "drop":
                steps += [SETTLE, task("drop", work, counter)]
    return [*steps, *(get(name) for name in names), send("GET", f"/promises?id=walk-{seed}-*")]


def all_sequences() -> dict[str, list[Step]]:
    """Make every sequence, by name."""
    kinds = (creations, completions, with_task, task_life, leases, routing, search, schedules)
    named = {kind.__name__: kind() for kind in (*kinds, malformed, headers, routes)}
    return named | {f"walk_{seed}": walk(seed) for seed in range(12)}
