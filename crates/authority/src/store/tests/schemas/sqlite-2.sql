-- The tables of version 2, as that version made them.
CREATE TABLE decisions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    account TEXT NOT NULL,
    outcome TEXT NOT NULL,
    commitment BLOB NOT NULL
) STRICT;
CREATE TABLE evidence (
    decision INTEGER PRIMARY KEY REFERENCES decisions (id),
    sealed BLOB NOT NULL
) STRICT;
CREATE TABLE spent_nonces (
    nonce BLOB PRIMARY KEY,
    spent_at INTEGER NOT NULL,
    request BLOB NOT NULL,
    decision INTEGER NOT NULL REFERENCES decisions (id)
) STRICT, WITHOUT ROWID;
CREATE TABLE devices (
    id INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    name TEXT NOT NULL UNIQUE,
    identity BLOB NOT NULL UNIQUE,
    ek_certificate BLOB NOT NULL,
    baseline BLOB,
    enrolled_at INTEGER NOT NULL,
    replaceable_until INTEGER,
    replacement_approver TEXT
) STRICT;
CREATE TABLE certificates (
    id INTEGER PRIMARY KEY,
    serial BLOB NOT NULL UNIQUE,
    decision INTEGER NOT NULL REFERENCES decisions (id),
    not_after INTEGER NOT NULL,
    der BLOB NOT NULL,
    attesting_key BLOB,
    is_of_key INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX certificates_of_decision ON certificates (decision);
CREATE TABLE challenges (
    id BLOB PRIMARY KEY,
    expires INTEGER NOT NULL,
    is_signature INTEGER NOT NULL,
    expected BLOB NOT NULL,
    account TEXT NOT NULL,
    device TEXT NOT NULL,
    identity BLOB NOT NULL,
    ek_certificate BLOB NOT NULL,
    is_virtual INTEGER NOT NULL,
    name BLOB,
    public BLOB NOT NULL,
    spki_digest BLOB NOT NULL,
    method TEXT NOT NULL,
    environment TEXT NOT NULL,
    proof BLOB NOT NULL,
    approvers TEXT NOT NULL,
    is_exclusive INTEGER NOT NULL,
    baseline BLOB
) STRICT;
CREATE TABLE attesting_keys (
    id INTEGER PRIMARY KEY,
    device INTEGER NOT NULL REFERENCES devices (id),
    account TEXT NOT NULL,
    name BLOB UNIQUE,
    public BLOB NOT NULL,
    spki_digest BLOB NOT NULL UNIQUE,
    is_virtual INTEGER NOT NULL,
    method TEXT NOT NULL,
    environment TEXT NOT NULL,
    proof BLOB NOT NULL,
    approvers TEXT NOT NULL,
    predecessor INTEGER REFERENCES attesting_keys (id),
    enrolled_at INTEGER NOT NULL,
    revoked_at INTEGER,
    revocation_reason TEXT,
    revocation_approver TEXT
) STRICT;
CREATE INDEX attesting_keys_of_device ON attesting_keys (device);
CREATE TABLE enrolments (
    decision INTEGER PRIMARY KEY REFERENCES decisions (id),
    method TEXT NOT NULL,
    environment TEXT NOT NULL,
    proof BLOB NOT NULL,
    approvers TEXT NOT NULL
) STRICT;
CREATE TABLE shared_devices (
    device INTEGER NOT NULL REFERENCES devices (id),
    account TEXT NOT NULL,
    PRIMARY KEY (device, account)
) STRICT, WITHOUT ROWID;
CREATE TABLE revocations (
    certificate INTEGER PRIMARY KEY REFERENCES certificates (id),
    at INTEGER NOT NULL,
    reason TEXT NOT NULL
) STRICT;
CREATE TABLE inventory (
    id INTEGER PRIMARY KEY,
    device TEXT NOT NULL UNIQUE,
    account TEXT NOT NULL,
    ek_sha256 BLOB UNIQUE,
    vendor TEXT,
    serial TEXT,
    model TEXT NOT NULL,
    is_virtual INTEGER NOT NULL,
    digest BLOB NOT NULL,
    approver TEXT NOT NULL,
    UNIQUE (vendor, serial)
) STRICT;
CREATE INDEX certificates_of_key ON certificates (attesting_key);
PRAGMA user_version = 2;
