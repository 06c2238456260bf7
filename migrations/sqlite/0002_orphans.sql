-- Calls that a crash cut off are looked for at every start, among all that are younger than the
-- longest call. There are few of them.
-- One more of cdr.flags since the first schema: 32 end_inferred.

CREATE INDEX cdr_orphan ON cdr (call_id) WHERE state = 2; -- orphan_closed
