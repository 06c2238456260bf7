-- How far each consumer of the facts has come; written in the transaction of what they came to.
CREATE TABLE consumer_offset (
    name         TEXT    NOT NULL PRIMARY KEY,
    epoch        INTEGER NOT NULL,
    seq          INTEGER NOT NULL,
    recall_epoch INTEGER NOT NULL,                 -- where a restart begins to read again
    recall_seq   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL
) WITHOUT ROWID;

-- Facts that a consumer could not work from.
CREATE TABLE dead_letter (
    id         INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    consumer   TEXT    NOT NULL,
    epoch      INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    call_id    BLOB,
    fact       BLOB    NOT NULL,                   -- as the journal has it
    state      INTEGER NOT NULL,                   -- 0 retrying, 1 dead, 2 done, 3 discarded
    tries      INTEGER NOT NULL,
    class      TEXT    NOT NULL,                   -- what kind of error the last one was
    error      TEXT    NOT NULL,
    first_at   INTEGER NOT NULL,
    last_at    INTEGER NOT NULL,
    next_at    INTEGER,                            -- when it is tried again
    word_by    TEXT,                               -- who said what should become of it
    word_at    INTEGER,
    reason     TEXT,
    UNIQUE (consumer, epoch, seq)
);

CREATE INDEX dead_letter_state ON dead_letter (consumer, state, next_at);

-- Sums over pings and calls that are over.
CREATE TABLE rollup (
    minutes           INTEGER NOT NULL,            -- how long a bucket is: 1, 60, 1440
    bucket            INTEGER NOT NULL,            -- its begin, in minutes since the Unix epoch (UTC)
    campaign_id       TEXT    NOT NULL,            -- these four empty where they do not apply
    publisher_id      TEXT    NOT NULL,
    buyer_id          TEXT    NOT NULL,
    target_id         TEXT    NOT NULL,
    pings             INTEGER NOT NULL,
    numbers           INTEGER NOT NULL,
    pool_misses       INTEGER NOT NULL,
    calls             INTEGER NOT NULL,
    matched           INTEGER NOT NULL,
    answered          INTEGER NOT NULL,
    converted         INTEGER NOT NULL,
    attempts          INTEGER NOT NULL,
    attempts_answered INTEGER NOT NULL,
    talk_ms           INTEGER NOT NULL,
    revenue_micros    INTEGER NOT NULL,
    payout_micros     INTEGER NOT NULL,
    cost_micros       INTEGER NOT NULL,
    PRIMARY KEY (minutes, bucket, campaign_id, publisher_id, buyer_id, target_id)
) WITHOUT ROWID;

-- What calls were counted for whose end may still become known.
CREATE TABLE rolled_call (
    call_id BLOB NOT NULL PRIMARY KEY,             -- ordered by admission
    sums    BLOB NOT NULL                          -- CBOR
) WITHOUT ROWID;
