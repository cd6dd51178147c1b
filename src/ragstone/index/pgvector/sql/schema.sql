-- All of the index. Rows are written by the schema's owner; searches run as ragstone_tenant.

CREATE SCHEMA ragstone_index;

CREATE TABLE ragstone_index.state (
    layout integer NOT NULL,
    signature text NOT NULL,  -- how words are weighed
    source text NOT NULL,  -- the catalog that is followed
    position bigint NOT NULL
);
CREATE UNIQUE INDEX ON ragstone_index.state ((true));  -- one row

-- A scope has a number, by which all of its rows are found. `points` is kept up to date under the lock that positions
-- are given out under, so that writers of one scope wait for each other no longer than they do anyway.
CREATE TABLE ragstone_index.scopes (
    number integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text COLLATE "C" NOT NULL,
    generation uuid NOT NULL,
    fingerprint text COLLATE "C" NOT NULL,
    dimensions integer NOT NULL,
    points bigint NOT NULL DEFAULT 0,
    removed bigint NOT NULL DEFAULT 0,  -- points since its graph was built
    UNIQUE (tenant, generation, fingerprint)
) WITH (fillfactor = 50);
CREATE INDEX ON ragstone_index.scopes (fingerprint);

CREATE SEQUENCE ragstone_index.numbers_of_rows;

-- What a document can be filtered by is stored once for all its points.
CREATE TABLE ragstone_index.documents (
    number bigint PRIMARY KEY,
    scope integer NOT NULL,
    id uuid NOT NULL,
    points integer NOT NULL,
    terms bigint[] NOT NULL  -- digests of scope and term, so that no scope's lists hold another's documents
);
CREATE INDEX ON ragstone_index.documents (scope, id);
CREATE INDEX ON ragstone_index.documents USING gin (terms) WITH (fastupdate = off);

CREATE TABLE ragstone_index.numbers (
    document bigint NOT NULL,
    scope integer NOT NULL,
    key text COLLATE "C" NOT NULL,
    value double precision NOT NULL,
    PRIMARY KEY (document, key, value)
);
CREATE INDEX ON ragstone_index.numbers (scope, key, value) INCLUDE (document);

CREATE TABLE ragstone_index.points (
    number bigint PRIMARY KEY,
    scope integer NOT NULL,
    document bigint NOT NULL,
    chunk uuid NOT NULL,
    hash bytea NOT NULL,
    words integer[] NOT NULL,  -- those that it has postings of
    vector halfvec NOT NULL  -- of length 1: an inner product of two is their cosine
) WITH (toast_tuple_target = 8160);
ALTER TABLE ragstone_index.points ALTER vector SET STORAGE EXTERNAL;
CREATE INDEX ON ragstone_index.points (scope, chunk);
CREATE INDEX ON ragstone_index.points (document);

CREATE TABLE ragstone_index.postings (
    scope integer NOT NULL,
    word integer NOT NULL,
    point bigint NOT NULL,
    weight real NOT NULL
) WITH (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX ON ragstone_index.postings (scope, word, point) INCLUDE (weight);

-- A chunk's id is nowhere but in `points`: no search can give away another tenant's, whatever it gets wrong. The other
-- tables are without a policy, for one would keep PostgreSQL from looking terms up in their index.
ALTER TABLE ragstone_index.scopes ENABLE ROW LEVEL SECURITY;
ALTER TABLE ragstone_index.points ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON ragstone_index.scopes TO ragstone_tenant
    USING (tenant = current_setting('ragstone.tenant', true));
CREATE POLICY own ON ragstone_index.points TO ragstone_tenant
    USING (scope = ANY(ARRAY(SELECT s.number FROM ragstone_index.scopes s)));

GRANT USAGE ON SCHEMA ragstone_index TO ragstone_tenant;
GRANT SELECT ON ragstone_index.scopes, ragstone_index.documents, ragstone_index.numbers, ragstone_index.points,
    ragstone_index.postings TO ragstone_tenant;
