-- Configurations that decisions were made on, so that they can be made again.
CREATE TABLE config_revision (
    revision INTEGER NOT NULL PRIMARY KEY,
    taken_at INTEGER NOT NULL,
    document BLOB    NOT NULL                      -- JSON, packed with LZ4
);
