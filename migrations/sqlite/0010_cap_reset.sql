-- Caps that began anew within a window because an operator said so. Kept for 400 days, and those of all
-- time for good.
CREATE TABLE cap_reset (
    cap     TEXT    NOT NULL,
    win     TEXT    NOT NULL,
    at      INTEGER NOT NULL,
    ends_at INTEGER,                                   -- of the window; absent: never
    record  BLOB    NOT NULL,                          -- the fact, as CBOR
    PRIMARY KEY (cap, win, at)
) WITHOUT ROWID;
