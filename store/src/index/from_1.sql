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
    metadata TEXT NOT NULL CHECK (json_valid(metadata))
) STRICT, WITHOUT ROWID;
INSERT INTO artifacts_2 (key, cp, package, slot, repository, file, log, preimage, payload, interface,
                         installed_size, build_millis, built_at, builder, metadata)
    SELECT key, cp, package, slot, repository, file, log, preimage, payload, payload,
           installed_size, build_millis, built_at, builder, metadata
    FROM artifacts;
DROP TABLE artifacts;
ALTER TABLE artifacts_2 RENAME TO artifacts;
CREATE INDEX artifacts_by_cp ON artifacts (cp, built_at);
CREATE INDEX artifacts_by_file ON artifacts (file);
CREATE INDEX artifacts_by_log ON artifacts (log);
CREATE INDEX artifacts_by_preimage ON artifacts (preimage);

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
