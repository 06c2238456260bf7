-- Sessions of visitors live on by signs of life, which may tell more: expires_at and number are those of
-- the latest. All tags as CBOR; absent: as in the record.

ALTER TABLE ping_session ADD COLUMN tags BLOB;
