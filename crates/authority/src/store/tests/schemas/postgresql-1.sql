-- The tables of version 1, as that version made them. Its first databases have no acme_documents.
CREATE TABLE vouchsafe_schema (one boolean PRIMARY KEY CHECK (one), version bigint NOT NULL);
CREATE TABLE acme_documents (
    kind text NOT NULL,
    id bytea NOT NULL,
    owner bytea NOT NULL,
    version bigint NOT NULL,
    expires bigint NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (kind, id)
);
CREATE INDEX acme_documents_of_owner ON acme_documents (owner, kind, expires);
CREATE INDEX acme_documents_by_expiry ON acme_documents (expires);
CREATE SEQUENCE decision_numbers;
CREATE TABLE decisions (
    id bigint PRIMARY KEY DEFAULT nextval('decision_numbers'),
    at bigint NOT NULL,
    kind text NOT NULL,
    account text NOT NULL,
    outcome text NOT NULL,
    commitment bytea NOT NULL
);
CREATE TABLE evidence (
    decision bigint PRIMARY KEY,
    sealed bytea NOT NULL
);
CREATE TABLE spent_nonces (
    nonce bytea PRIMARY KEY,
    spent_at bigint NOT NULL,
    request bytea NOT NULL,
    decision bigint NOT NULL
);
CREATE TABLE certificates (
    decision bigint NOT NULL,
    place bigint NOT NULL,
    serial bytea NOT NULL CONSTRAINT certificates_serial UNIQUE,
    not_after bigint NOT NULL,
    der bytea NOT NULL,
    attesting_key bytea,
    is_of_key boolean NOT NULL,
    PRIMARY KEY (decision, place)
);
CREATE INDEX certificates_of_key ON certificates (attesting_key);
CREATE TABLE challenges (
    id bytea PRIMARY KEY,
    expires bigint NOT NULL,
    is_signature boolean NOT NULL,
    expected bytea NOT NULL,
    account text NOT NULL,
    device text NOT NULL,
    identity bytea NOT NULL,
    ek_certificate bytea NOT NULL,
    is_virtual boolean NOT NULL,
    name bytea,
    public bytea NOT NULL,
    spki_digest bytea NOT NULL,
    method text NOT NULL,
    environment text NOT NULL,
    proof bytea NOT NULL,
    approvers text NOT NULL,
    is_exclusive boolean NOT NULL,
    baseline bytea
);
CREATE TABLE devices (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account text NOT NULL,
    name text NOT NULL UNIQUE,
    identity bytea NOT NULL UNIQUE,
    ek_certificate bytea NOT NULL,
    baseline bytea,
    enrolled_at bigint NOT NULL,
    replaceable_until bigint,
    replacement_approver text
);
CREATE TABLE attesting_keys (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device bigint NOT NULL REFERENCES devices (id),
    account text NOT NULL,
    name bytea UNIQUE,
    public bytea NOT NULL,
    spki_digest bytea NOT NULL UNIQUE,
    is_virtual boolean NOT NULL,
    method text NOT NULL,
    environment text NOT NULL,
    proof bytea NOT NULL,
    approvers text NOT NULL,
    predecessor bigint REFERENCES attesting_keys (id),
    enrolled_at bigint NOT NULL,
    revoked_at bigint,
    revocation_reason text,
    revocation_approver text
);
CREATE INDEX attesting_keys_of_device ON attesting_keys (device);
CREATE TABLE enrolments (
    decision bigint PRIMARY KEY,
    method text NOT NULL,
    environment text NOT NULL,
    proof bytea NOT NULL,
    approvers text NOT NULL
);
CREATE TABLE shared_devices (
    device bigint NOT NULL REFERENCES devices (id),
    account text NOT NULL,
    PRIMARY KEY (device, account)
);
CREATE TABLE revocations (
    serial bytea PRIMARY KEY REFERENCES certificates (serial),
    at bigint NOT NULL,
    reason text NOT NULL
);
CREATE TABLE inventory (
    device text PRIMARY KEY,
    account text NOT NULL,
    ek_sha256 bytea UNIQUE,
    vendor text,
    serial text,
    model text NOT NULL,
    is_virtual boolean NOT NULL,
    digest bytea NOT NULL,
    approver text NOT NULL,
    UNIQUE (vendor, serial)
);
INSERT INTO vouchsafe_schema (one, version) VALUES (true, 1);
