-- Pings whose request may be sent again, and then gets the answer of before: of a day's pings a start reads
-- these alone.
ALTER TABLE ping_session ADD COLUMN has_reply INTEGER NOT NULL DEFAULT 0;

CREATE INDEX ping_session_reply ON ping_session (session_id) WHERE has_reply = 1;
