-- The book that people read: projections of the journal, written only by the projection.
-- Times are milliseconds since the Unix epoch (UTC), money is micros, ids are 16 bytes.
-- There are no foreign keys: a CDR is never refused because something it names is gone.

CREATE TABLE cdr (
    call_id          BLOB    NOT NULL PRIMARY KEY, -- UUIDv7: ordered by admission
    started_at       INTEGER NOT NULL,
    rev              INTEGER NOT NULL,             -- a row is replaced by a higher one only
    state            INTEGER NOT NULL,             -- 0 open, 1 closed, 2 orphan_closed
    node_id          INTEGER NOT NULL,
    node_epoch       INTEGER NOT NULL,
    seq              INTEGER NOT NULL,             -- last fact of the journal that is in here
    trunk_id         TEXT,
    sip_call_id      TEXT    NOT NULL,
    did              INTEGER,                      -- digits of E.164
    caller           INTEGER,
    publisher_id     TEXT,
    campaign_id      TEXT,
    session_id       BLOB,
    match_method     TEXT    NOT NULL,
    buyer_id         TEXT,
    target_id        TEXT,                         -- that answered, else the last that was tried
    leg_count        INTEGER NOT NULL,
    sip_code         INTEGER,
    q850             INTEGER,
    end_party        INTEGER,                      -- 0 caller, 1 target, 2 system
    end_reason       TEXT,
    setup_ms         INTEGER,
    pdd_ms           INTEGER,
    ring_ms          INTEGER,
    talk_ms          INTEGER,
    billed_s         INTEGER,
    cost_micros      INTEGER,                      -- absent without a tariff
    revenue_micros   INTEGER NOT NULL,
    payout_micros    INTEGER NOT NULL,
    currency         TEXT    NOT NULL,
    conversion_state INTEGER NOT NULL,             -- 0 none, 1 pending, 2 reached, 3 settled
    flags            INTEGER NOT NULL,             -- 1 clock_skew, 2 orphan, 4 orphan_corrected,
                                                   -- 8 unrated, 16 incomplete
    explain_ref      INTEGER,                      -- decision.ref
    recorded_at      INTEGER NOT NULL,
    schema_ver       INTEGER NOT NULL,
    record           BLOB    NOT NULL              -- the whole record as CBOR
) WITHOUT ROWID;

-- The primary key follows in each index, so each lists newest first.
CREATE INDEX cdr_campaign ON cdr (campaign_id);
CREATE INDEX cdr_publisher ON cdr (publisher_id);
CREATE INDEX cdr_target ON cdr (target_id);
CREATE INDEX cdr_caller ON cdr (caller) WHERE caller IS NOT NULL;

CREATE TABLE cdr_leg (
    call_id    BLOB    NOT NULL,
    leg        INTEGER NOT NULL,                   -- from 1
    rev        INTEGER NOT NULL,
    target_id  TEXT    NOT NULL,
    buyer_id   TEXT    NOT NULL,
    uri        TEXT    NOT NULL,
    started_at INTEGER NOT NULL,
    pdd_ms     INTEGER,
    ring_ms    INTEGER,
    result     INTEGER NOT NULL,                   -- 0 pending, 1 answered, 2 failed, 3 abandoned
    sip_code   INTEGER,
    q850       INTEGER,
    reason     TEXT,
    PRIMARY KEY (call_id, leg)
) WITHOUT ROWID;

-- Why each call went where it went, as the router wrote it.
CREATE TABLE decision (
    ref    INTEGER NOT NULL PRIMARY KEY,           -- epoch << 43 | seq of the fact
    record BLOB    NOT NULL                        -- CBOR and SHA-256
);

-- Calls that were up when the projection wrote last, except the youngest: those it replays.
CREATE TABLE open_call (
    call_id BLOB NOT NULL PRIMARY KEY,
    record  BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE cap_usage (
    cap        TEXT    NOT NULL,
    win        TEXT    NOT NULL,
    used       INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (cap, win)
) WITHOUT ROWID;

CREATE TABLE ping_session (
    session_id  BLOB    NOT NULL PRIMARY KEY,
    ping_id     BLOB    NOT NULL,
    publisher_id TEXT   NOT NULL,
    campaign_id TEXT    NOT NULL,
    caller      INTEGER,
    number      INTEGER,
    accepted_at INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    consumed_at INTEGER,
    record      BLOB    NOT NULL
) WITHOUT ROWID;

CREATE INDEX ping_session_expiry ON ping_session (expires_at);

-- How far each projection has read; written in the transaction of its effects.
CREATE TABLE projection (
    name         TEXT    NOT NULL PRIMARY KEY,
    epoch        INTEGER NOT NULL,
    seq          INTEGER NOT NULL,
    replay_epoch INTEGER NOT NULL,                 -- where a restart begins to read again
    replay_seq   INTEGER NOT NULL
) WITHOUT ROWID;
