-- What is known of the callers of sessions besides what publishers say.
CREATE TABLE enrichment (
    session_id  BLOB    NOT NULL,                  -- UUIDv7: ordered by opening
    source      TEXT    NOT NULL,                  -- `embedded`, or the id of an enricher
    at          INTEGER NOT NULL,
    lookup      INTEGER NOT NULL,                  -- 0 told, 1 cached, 2 late, 3 failed, 4 resting,
                                                   -- 5 over_budget, 6 unwanted, 7 expired,
                                                   -- 8 derived
    cost_micros INTEGER NOT NULL,
    tags        BLOB    NOT NULL,                  -- CBOR
    PRIMARY KEY (session_id, source)
) WITHOUT ROWID;

-- What was spent on each enricher by days of UTC. Written before a question is asked.
CREATE TABLE enricher_spent (
    enricher    TEXT    NOT NULL,
    day         INTEGER NOT NULL,                  -- since the Unix epoch
    asked       INTEGER NOT NULL,
    cost_micros INTEGER NOT NULL,
    PRIMARY KEY (enricher, day)
) WITHOUT ROWID;
