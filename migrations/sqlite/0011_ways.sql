-- What led to the target of an attempt, trunk/ID or a host; absent: its only way, without a trunk.
ALTER TABLE cdr_leg ADD COLUMN way TEXT;

-- Whether the target was not reached, and called another way.
ALTER TABLE cdr_leg ADD COLUMN way_failed INTEGER NOT NULL DEFAULT 0;
