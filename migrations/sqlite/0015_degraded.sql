-- Calls that are over, were matched without the store that servers share, and have yet to be looked at again.
CREATE TABLE degraded_call (
    call_id BLOB NOT NULL PRIMARY KEY
) WITHOUT ROWID;
