-- What format 1 did not have.
CREATE TABLE store (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    uuid BLOB NOT NULL CHECK (length(uuid) = 16),
    losses INTEGER NOT NULL,
    noted INTEGER NOT NULL
) STRICT;
INSERT INTO store (one, uuid, losses, noted) VALUES (1, randomblob(16), 0, 0);

-- Each time the store was brought back from a backup, whose last record of the journal was number noted: what was published
-- after that may have been seen, and is not known here.
CREATE TABLE restores (
    number INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    noted INTEGER NOT NULL
) STRICT;

-- Files that hold many blobs. id is the address of the file's bytes, unpacked the length of what it unpacks to. States as
-- those of blobs.
CREATE TABLE packs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 32),
    size INTEGER NOT NULL CHECK (size >= 0),
    unpacked INTEGER NOT NULL CHECK (unpacked >= 0),
    state TEXT NOT NULL CHECK (state IN ('sound', 'bad', 'condemned'))
) STRICT;

CREATE TABLE blobs_2 (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 32),
    size INTEGER NOT NULL CHECK (size >= 0),
    state TEXT NOT NULL CHECK (state IN ('sound', 'bad', 'condemned')),
    inline INTEGER REFERENCES inline_bytes (id),
    stored_at INTEGER NOT NULL,
    pack INTEGER REFERENCES packs (number) CHECK (pack IS NULL OR inline IS NULL),
    position INTEGER CHECK ((position IS NULL) = (pack IS NULL))
) STRICT, WITHOUT ROWID;
INSERT INTO blobs_2 (id, size, state, inline, stored_at) SELECT id, size, state, inline, stored_at FROM blobs;
DROP TABLE blobs;
ALTER TABLE blobs_2 RENAME TO blobs;
CREATE UNIQUE INDEX blobs_by_inline ON blobs (inline) WHERE inline IS NOT NULL;
CREATE INDEX blobs_unsound ON blobs (state) WHERE state <> 'sound';
CREATE INDEX blobs_by_pack ON blobs (pack, position) WHERE pack IS NOT NULL;

-- Format 1 knew neither interfaces nor reuse keys. Nothing narrower than the payload is known to reach a dependent's
-- build, so it stands for the interface; as digests of different kinds they never meet by chance.
CREATE TABLE artifacts_2 (
    key BLOB NOT NULL PRIMARY KEY CHECK (length(key) = 32),
    cp TEXT NOT NULL,
    package TEXT NOT NULL,
    slot TEXT NOT NULL,
    repository TEXT NOT NULL,
    file BLOB NOT NULL REFERENCES blobs (id),
    log BLOB NOT NULL REFERENCES blobs (id),
    preimage BLOB NOT NULL REFERENCES blobs (id),
    payload BLOB NOT NULL CHECK (length(payload) = 32),
    interface BLOB NOT NULL CHECK (length(interface) = 32),
    installed_size INTEGER NOT NULL,
    build_millis INTEGER NOT NULL,
    built_at INTEGER NOT NULL,
    builder TEXT NOT NULL,
    metadata TEXT NOT NULL CHECK (json_valid(metadata)),
    number INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO artifacts_2 (key, cp, package, slot, repository, file, log, preimage, payload, interface,
                         installed_size, build_millis, built_at, builder, metadata, number)
    SELECT key, cp, package, slot, repository, file, log, preimage, payload, payload,
           installed_size, build_millis, built_at, builder, metadata, row_number() OVER (ORDER BY built_at, key)
    FROM artifacts;
DROP TABLE artifacts;
ALTER TABLE artifacts_2 RENAME TO artifacts;
CREATE UNIQUE INDEX artifacts_by_number ON artifacts (number);
CREATE INDEX artifacts_by_cp ON artifacts (cp, built_at);
CREATE INDEX artifacts_by_file ON artifacts (file);
CREATE INDEX artifacts_by_log ON artifacts (log);
CREATE INDEX artifacts_by_preimage ON artifacts (preimage);

CREATE TABLE look_up_table (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    directory BLOB NOT NULL CHECK (length(directory) = 32),
    blocks INTEGER NOT NULL CHECK (blocks >= 0),
    covered INTEGER NOT NULL,
    losses INTEGER NOT NULL
) STRICT;

CREATE TABLE reuse_keys (
    key BLOB NOT NULL CHECK (length(key) = 32),
    position INTEGER NOT NULL,
    artifact BLOB NOT NULL REFERENCES artifacts (key) ON DELETE CASCADE,
    PRIMARY KEY (key, position),
    UNIQUE (artifact, key)
) STRICT, WITHOUT ROWID;

-- In format 1 a job came to resolve to the artifact under its own key, which is what null means.
ALTER TABLE jobs ADD COLUMN artifact BLOB CHECK (length(artifact) = 32);

-- Format 1 had no audits.
ALTER TABLE runs ADD COLUMN purpose TEXT NOT NULL DEFAULT 'build' CHECK (purpose IN ('build', 'audit'));

-- What is kept for good, by name. Of a tree everything in it is kept too.
CREATE TABLE roots (
    name TEXT NOT NULL PRIMARY KEY,
    blob BLOB NOT NULL REFERENCES blobs (id),
    kind TEXT NOT NULL CHECK (kind IN ('blob', 'tree')),
    made INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX roots_by_blob ON roots (blob);

-- Blobs that somebody was told are there, and until when they are kept for that, in seconds since 1970.
CREATE TABLE leases (
    blob BLOB NOT NULL PRIMARY KEY REFERENCES blobs (id) ON DELETE CASCADE,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Every way in which something stops being there.
CREATE TRIGGER blob_unsound AFTER UPDATE OF state ON blobs WHEN old.state = 'sound' AND new.state <> 'sound'
BEGIN UPDATE store SET losses = losses + 1; END;
CREATE TRIGGER blob_removed AFTER DELETE ON blobs
BEGIN UPDATE store SET losses = losses + 1; END;
CREATE TRIGGER pack_unsound AFTER UPDATE OF state ON packs WHEN old.state = 'sound' AND new.state <> 'sound'
BEGIN UPDATE store SET losses = losses + 1; END;
CREATE TRIGGER artifact_removed AFTER DELETE ON artifacts
BEGIN UPDATE store SET losses = losses + 1; END;
