-- The partial indices hold only pending promises and open tasks, so queries stay fast as
-- completed ones accumulate.

CREATE TABLE IF NOT EXISTS promises (
    sort_id       INTEGER PRIMARY KEY,     -- the order of creation
    id            TEXT NOT NULL UNIQUE,
    state         TEXT NOT NULL,
    timeout       INTEGER NOT NULL,        -- this and every other time: ms since the epoch
    param_headers TEXT NOT NULL,           -- JSON
    param_data    BLOB NOT NULL,
    value_headers TEXT NOT NULL DEFAULT '{}',
    value_data    BLOB NOT NULL DEFAULT x'',
    idempotency_key_for_create   TEXT,
    idempotency_key_for_complete TEXT,
    tags          TEXT NOT NULL,           -- JSON
    created_on    INTEGER NOT NULL,
    completed_on  INTEGER
);
CREATE INDEX IF NOT EXISTS promises_pending ON promises (timeout) WHERE state = 'PENDING';

-- The callbacks and subscriptions of pending promises. When a promise is complete, each of its
-- callbacks becomes a task.
CREATE TABLE IF NOT EXISTS callbacks (
    id              TEXT PRIMARY KEY,
    promise_id      TEXT NOT NULL,
    root_promise_id TEXT NOT NULL,
    type            TEXT NOT NULL,         -- resume or notify
    head            TEXT NOT NULL,         -- JSON
    recv            TEXT NOT NULL,         -- JSON
    timeout         INTEGER NOT NULL,
    created_on      INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS callbacks_of_promise ON callbacks (promise_id);

CREATE TABLE IF NOT EXISTS tasks (
    sort_id         INTEGER PRIMARY KEY,
    id              TEXT NOT NULL UNIQUE,
    state           TEXT NOT NULL,
    type            TEXT NOT NULL,         -- invoke, resume or notify
    root_promise_id TEXT NOT NULL,
    leaf_promise_id TEXT NOT NULL,
    head            TEXT NOT NULL,         -- JSON: the tracing headers of the request
    recv            TEXT NOT NULL,         -- JSON
    process_id      TEXT,                  -- the process that has it: enqueued or claimed
    -- PARKED: the address that it waits for. parked_id is NULL for any connection of the group.
    -- ENQUEUED: the group through which process_id got it.
    poll_group      TEXT,
    parked_id       TEXT,
    -- How many processes in a row have ended while they had claimed it.
    deaths          INTEGER NOT NULL DEFAULT 0,
    counter         INTEGER NOT NULL DEFAULT 1,
    ttl             INTEGER NOT NULL DEFAULT 0,
    -- INIT: when to send it. BLOCKED and PARKED: when it times out. ENQUEUED: when it is sent
    -- again. CLAIMED: when the lease expires.
    expires_at      INTEGER NOT NULL DEFAULT 0,
    timeout         INTEGER NOT NULL,
    created_on      INTEGER NOT NULL,
    completed_on    INTEGER,
    -- For the page: the latest attempt. The server sets them in updates that it makes anyway.
    sent_on         INTEGER,
    claimed_by      TEXT,                  -- unlike process_id, kept when the task is completed
    claimed_on      INTEGER
);
-- Each index adds a page to the log of every commit that changes it.
CREATE INDEX IF NOT EXISTS tasks_open ON tasks (state, expires_at)
    WHERE state IN ('INIT', 'BLOCKED', 'PARKED', 'ENQUEUED', 'CLAIMED');
CREATE INDEX IF NOT EXISTS tasks_parked ON tasks (poll_group, parked_id) WHERE state = 'PARKED';
CREATE INDEX IF NOT EXISTS tasks_open_of_root ON tasks (root_promise_id, state)
    WHERE state IN ('INIT', 'BLOCKED', 'PARKED', 'ENQUEUED', 'CLAIMED');

-- The attempts that ended without completing their task, for the page. A task's latest attempt
-- is in its own row, so a run in which no worker fails writes nothing here.
CREATE TABLE IF NOT EXISTS attempts (
    sort_id         INTEGER PRIMARY KEY,
    task            INTEGER NOT NULL,      -- the task's sort_id
    root_promise_id TEXT NOT NULL,
    process_id      TEXT NOT NULL,
    sent_on         INTEGER,               -- NULL if the task was created claimed
    claimed_on      INTEGER,               -- NULL if the process never claimed it
    ended_on        INTEGER NOT NULL,
    outcome         TEXT NOT NULL          -- disconnected, expired or dropped
);

-- Calls that found their promise complete and got its stored result, for the page. Only the newest
-- rows are kept. A run that starts from nothing writes nothing here.
CREATE TABLE IF NOT EXISTS uses (
    sort_id         INTEGER PRIMARY KEY,
    promise_id      TEXT NOT NULL,
    caller_id       TEXT,                  -- the promise whose function called it; NULL: a client
    created_on      INTEGER NOT NULL
);

-- Connections, and starts and stops of the server, for the page. Only the newest rows are kept.
CREATE TABLE IF NOT EXISTS process_events (
    sort_id         INTEGER PRIMARY KEY,
    type            TEXT NOT NULL,         -- connected or disconnected; the server: started or stopped
    created_on      INTEGER NOT NULL,
    process_id      TEXT,                  -- NULL for the server
    poll_group      TEXT,
    number          INTEGER,               -- the process's place in its group: worker 1, 2, ...
    active_until    INTEGER                -- started: the last time the server was active before
);

CREATE TABLE IF NOT EXISTS schedules (
    sort_id         INTEGER PRIMARY KEY,
    id              TEXT NOT NULL UNIQUE,
    description     TEXT NOT NULL,
    cron            TEXT NOT NULL,
    tags            TEXT NOT NULL,         -- JSON
    promise_id      TEXT NOT NULL,
    promise_timeout INTEGER NOT NULL,      -- ms from the run on
    promise_headers TEXT NOT NULL,         -- JSON
    promise_data    BLOB NOT NULL,
    promise_tags    TEXT NOT NULL,         -- JSON
    last_run_time   INTEGER,
    next_run_time   INTEGER NOT NULL,
    idempotency_key TEXT,
    created_on      INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS schedules_due ON schedules (next_run_time);
