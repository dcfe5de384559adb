-- The one row says which store this is. losses counts what was there once and is no longer, or no longer certain: as long
-- as it stands still, whatever was found in the store is still there. noted is the number of the last record of the
-- journal that this index has.
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

-- Bytes of small blobs. A table of its own: rows this wide would make the tree of `blobs` deep.
CREATE TABLE inline_bytes (
    id INTEGER PRIMARY KEY,
    bytes BLOB NOT NULL
) STRICT;

-- state: sound     bytes were verified and durable when the row was written
--        bad       found damaged or missing since; never served, healed by the next put
--        condemned collection is about to remove the file; a put makes it sound again
-- inline is the row of a small blob's bytes, pack the pack that holds a blob, beginning with byte number position of what
-- it unpacks to. A blob that has neither is a file.
CREATE TABLE blobs (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 32),
    size INTEGER NOT NULL CHECK (size >= 0),
    state TEXT NOT NULL CHECK (state IN ('sound', 'bad', 'condemned')),
    inline INTEGER REFERENCES inline_bytes (id),
    stored_at INTEGER NOT NULL,
    pack INTEGER REFERENCES packs (number) CHECK (pack IS NULL OR inline IS NULL),
    position INTEGER CHECK ((position IS NULL) = (pack IS NULL))
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX blobs_by_inline ON blobs (inline) WHERE inline IS NOT NULL;
CREATE INDEX blobs_unsound ON blobs (state) WHERE state <> 'sound';
CREATE INDEX blobs_by_pack ON blobs (pack, position) WHERE pack IS NOT NULL;

-- cp is category/name, package is category/name-version. number ascends in the order in which artifacts were committed.
CREATE TABLE artifacts (
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
CREATE UNIQUE INDEX artifacts_by_number ON artifacts (number);
CREATE INDEX artifacts_by_cp ON artifacts (cp, built_at);
CREATE INDEX artifacts_by_file ON artifacts (file);
CREATE INDEX artifacts_by_log ON artifacts (log);
CREATE INDEX artifacts_by_preimage ON artifacts (preimage);

-- Which look-up table beside the index is to be believed: the one whose directory has this digest. It has every artifact
-- with a number up to covered, as long as losses is still that of the store.
CREATE TABLE look_up_table (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    directory BLOB NOT NULL CHECK (length(directory) = 32),
    blocks INTEGER NOT NULL CHECK (blocks >= 0),
    covered INTEGER NOT NULL,
    losses INTEGER NOT NULL
) STRICT;

-- The reuse keys that lead to an artifact. Artifacts that share one answer in the order of their positions.
CREATE TABLE reuse_keys (
    key BLOB NOT NULL CHECK (length(key) = 32),
    position INTEGER NOT NULL,
    artifact BLOB NOT NULL REFERENCES artifacts (key) ON DELETE CASCADE,
    PRIMARY KEY (key, position),
    UNIQUE (artifact, key)
) STRICT, WITHOUT ROWID;

-- Later builds of a key that had an artifact: evidence of whether it is reproducible. Outlives the artifact.
CREATE TABLE reproductions (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL CHECK (length(key) = 32),
    payload BLOB NOT NULL CHECK (length(payload) = 32),
    seen_at INTEGER NOT NULL,
    builder TEXT NOT NULL
) STRICT;
CREATE INDEX reproductions_by_key ON reproductions (key);

-- The package file of an artifact as signed by one key, with its entry for a package index.
CREATE TABLE signed (
    key BLOB NOT NULL REFERENCES artifacts (key) ON DELETE CASCADE,
    signer TEXT NOT NULL,
    file BLOB NOT NULL REFERENCES blobs (id),
    index_entry TEXT NOT NULL,
    PRIMARY KEY (key, signer)
) STRICT, WITHOUT ROWID;
CREATE INDEX signed_by_file ON signed (file);

-- finished is null while a run goes on. boot, pid and pid_started name its process for good.
CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    label TEXT NOT NULL,
    started INTEGER NOT NULL,
    boot TEXT NOT NULL,
    pid INTEGER NOT NULL,
    pid_started INTEGER NOT NULL,
    finished INTEGER,
    summary TEXT,
    purpose TEXT NOT NULL DEFAULT 'build' CHECK (purpose IN ('build', 'audit'))
) STRICT;

-- artifact is what the job's key came to resolve to, null for the artifact under that key itself.
CREATE TABLE jobs (
    run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    key BLOB NOT NULL CHECK (length(key) = 32),
    package TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    slot INTEGER,
    started INTEGER,
    log_path TEXT,
    artifact BLOB CHECK (length(artifact) = 32),
    PRIMARY KEY (run, key)
) STRICT, WITHOUT ROWID;

-- log becomes null when collection removes an old log.
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    key BLOB NOT NULL CHECK (length(key) = 32),
    cp TEXT NOT NULL,
    package TEXT NOT NULL,
    slot INTEGER NOT NULL,
    started INTEGER NOT NULL,
    finished INTEGER NOT NULL,
    duration_millis INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    failure_class TEXT,
    phase TEXT,
    message TEXT NOT NULL,
    log BLOB REFERENCES blobs (id) ON DELETE SET NULL
) STRICT;
CREATE INDEX attempts_by_cp ON attempts (cp, outcome);
CREATE INDEX attempts_by_package ON attempts (package);
CREATE INDEX attempts_by_key ON attempts (key);
CREATE INDEX attempts_by_log ON attempts (log);
CREATE INDEX attempts_by_run ON attempts (run);

CREATE TABLE generations (
    channel TEXT NOT NULL,
    number INTEGER NOT NULL,
    created INTEGER NOT NULL,
    manifest BLOB NOT NULL REFERENCES blobs (id),
    PRIMARY KEY (channel, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX generations_by_manifest ON generations (manifest);

CREATE TABLE generation_entries (
    channel TEXT NOT NULL,
    number INTEGER NOT NULL,
    position INTEGER NOT NULL,
    key BLOB NOT NULL CHECK (length(key) = 32),
    PRIMARY KEY (channel, number, position),
    FOREIGN KEY (channel, number) REFERENCES generations (channel, number) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- Every file a generation serves, fixed when it is recorded: it stays whole whatever happens to the artifacts.
CREATE TABLE generation_blobs (
    channel TEXT NOT NULL,
    number INTEGER NOT NULL,
    blob BLOB NOT NULL REFERENCES blobs (id),
    PRIMARY KEY (channel, number, blob),
    FOREIGN KEY (channel, number) REFERENCES generations (channel, number) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX generation_blobs_by_blob ON generation_blobs (blob);

-- The generation each channel serves. It cannot be removed while it stands here.
CREATE TABLE current_generations (
    channel TEXT NOT NULL PRIMARY KEY,
    number INTEGER NOT NULL,
    FOREIGN KEY (channel, number) REFERENCES generations (channel, number)
) STRICT, WITHOUT ROWID;

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
