-- When the publisher came to be owed for the call, in milliseconds after its answer; absent: never, or the
-- row is older than this column.

ALTER TABLE cdr ADD COLUMN paid_after_ms INTEGER;
