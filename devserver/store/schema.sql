-- The partial indices hold only what is alive, so that no query gets slower as
-- completed promises and tasks pile up.

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

-- Who is to be told when a promise is complete. Each one becomes a task then.
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
    process_id      TEXT,                  -- whom it was sent to, then who claimed it
    claimed_by      TEXT,                  -- who claimed it last, kept for whoever watches
    claimed_before  TEXT,                  -- who had it before that one: it was taken back
    counter         INTEGER NOT NULL DEFAULT 1,
    ttl             INTEGER NOT NULL DEFAULT 0,
    -- INIT: when to send it. ENQUEUED: until when to claim it. CLAIMED: the lease's end.
    expires_at      INTEGER NOT NULL DEFAULT 0,
    timeout         INTEGER NOT NULL,
    created_on      INTEGER NOT NULL,
    completed_on    INTEGER
);
-- Each index costs a page of the log in every commit that touches it.
CREATE INDEX IF NOT EXISTS tasks_open ON tasks (state, expires_at)
    WHERE state IN ('INIT', 'ENQUEUED', 'CLAIMED');
CREATE INDEX IF NOT EXISTS tasks_open_of_root ON tasks (root_promise_id, state)
    WHERE state IN ('INIT', 'ENQUEUED', 'CLAIMED');

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
