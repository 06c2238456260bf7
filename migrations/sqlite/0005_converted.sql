-- When the buyer came to owe for the call, in milliseconds after its start; absent: never, or the row is
-- older than this column.

ALTER TABLE cdr ADD COLUMN converted_ms INTEGER;
