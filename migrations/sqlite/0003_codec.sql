-- What was spoken on both legs when the call was answered, such as PCMU/8000; absent: not known.

ALTER TABLE cdr ADD COLUMN codec TEXT;
