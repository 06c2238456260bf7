-- How much calls and sessions look like fraud. A call that has a score keeps it.
ALTER TABLE cdr ADD COLUMN fraud_score INTEGER;        -- 0 to 100; absent: not scored
ALTER TABLE cdr ADD COLUMN fraud BLOB;                 -- why, as CBOR; absent: nothing speaks for it

CREATE INDEX cdr_fraud ON cdr (call_id) WHERE fraud_score > 0;

ALTER TABLE ping_session ADD COLUMN fraud BLOB;        -- score and why, as CBOR

-- What is known of callers, prefixes and trunks, by hashes of their numbers and names.
CREATE TABLE fraud_state (
    kind  INTEGER NOT NULL,                            -- 0: the key of the hashes; else what is counted
    whom  INTEGER NOT NULL,
    at    INTEGER NOT NULL,                            -- when it last changed
    state BLOB    NOT NULL,                            -- CBOR
    PRIMARY KEY (kind, whom)
) WITHOUT ROWID;

-- Scored calls by days of UTC.
CREATE TABLE fraud_tally (
    day       INTEGER NOT NULL,                        -- since the Unix epoch
    publisher TEXT    NOT NULL,                        -- empty: nobody's
    reason    INTEGER NOT NULL,                        -- 0 all, 255 those with a high score
    calls     INTEGER NOT NULL,
    PRIMARY KEY (day, publisher, reason)
) WITHOUT ROWID;

-- When they ended, around the instant from which on they are worth money.
CREATE TABLE fraud_duration (
    day   INTEGER NOT NULL,
    side  INTEGER NOT NULL,                            -- 1 publisher, 2 target
    id    TEXT    NOT NULL,
    bin   INTEGER NOT NULL,                            -- 0 to 11, the threshold before 6
    calls INTEGER NOT NULL,
    PRIMARY KEY (day, side, id, bin)
) WITHOUT ROWID;
