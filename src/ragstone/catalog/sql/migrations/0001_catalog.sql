-- Every table that holds a tenant's data is under row-level security, has the tenant in its key, and refers to others by
-- id and tenant together, so that a row can never refer to another tenant's. The tenant comes last in keys: an index
-- that began with it would look useful to the planner for every statement, as row-level security adds the tenant to all.
-- Text that is compared is compared by its bytes (COLLATE "C"), the same on every server.

CREATE TABLE ragstone.tenants (
    id text COLLATE "C" PRIMARY KEY CHECK (id <> ''),
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE ragstone.collections (
    tenant text COLLATE "C" NOT NULL REFERENCES ragstone.tenants,
    id uuid NOT NULL,
    name text COLLATE "C" NOT NULL,
    serving uuid,
    PRIMARY KEY (id, tenant),
    UNIQUE (name, tenant)
);

CREATE TABLE ragstone.sources (
    tenant text COLLATE "C" NOT NULL,
    collection uuid NOT NULL,
    name text COLLATE "C" NOT NULL,
    prefix text NOT NULL,
    last_synced_at timestamptz NOT NULL,
    PRIMARY KEY (collection, name, tenant),
    FOREIGN KEY (collection, tenant) REFERENCES ragstone.collections
);

-- Nobody's data: what shaped a vector space, and the vectors of fixed probe texts in it (float32, little-endian).
CREATE TABLE ragstone.fingerprints (
    digest text COLLATE "C" PRIMARY KEY,
    spec jsonb NOT NULL,
    dimensions integer NOT NULL CHECK (dimensions > 0),
    probes bytea NOT NULL
);

CREATE TABLE ragstone.generations (
    tenant text COLLATE "C" NOT NULL,
    id uuid NOT NULL,
    collection uuid NOT NULL,
    fingerprint text COLLATE "C" NOT NULL REFERENCES ragstone.fingerprints,
    settings jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id, tenant),
    UNIQUE (id, collection, tenant),
    FOREIGN KEY (collection, tenant) REFERENCES ragstone.collections
);

ALTER TABLE ragstone.collections
    ADD FOREIGN KEY (serving, id, tenant) REFERENCES ragstone.generations (id, collection, tenant);

CREATE TABLE ragstone.documents (
    tenant text COLLATE "C" NOT NULL,
    id uuid NOT NULL,
    collection uuid NOT NULL,
    uri text COLLATE "C" NOT NULL,
    source text NOT NULL,
    deleted_at timestamptz,
    PRIMARY KEY (id, tenant),
    UNIQUE (collection, uri, tenant),
    FOREIGN KEY (collection, tenant) REFERENCES ragstone.collections
);

-- A version that has ended stays as history, without its text.
CREATE TABLE ragstone.versions (
    tenant text COLLATE "C" NOT NULL,
    id uuid NOT NULL,
    document uuid NOT NULL,
    generation uuid NOT NULL,
    number integer NOT NULL,
    revision text NOT NULL,
    content_hash bytea NOT NULL,
    title text NOT NULL,
    media_type text NOT NULL,
    metadata jsonb NOT NULL,
    text text STORAGE EXTERNAL,  -- compressing it would take longer than all the rest of publishing
    page_starts integer[] NOT NULL,
    modified_at timestamptz,
    published_at timestamptz NOT NULL DEFAULT now(),
    last_indexed_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    PRIMARY KEY (id, tenant),
    UNIQUE (document, generation, number, tenant),
    FOREIGN KEY (document, tenant) REFERENCES ragstone.documents,
    FOREIGN KEY (generation, tenant) REFERENCES ragstone.generations,
    CHECK ((text IS NULL) = (ended_at IS NOT NULL))
);

CREATE UNIQUE INDEX versions_current ON ragstone.versions (generation, document, tenant) WHERE ended_at IS NULL;

-- Sections and chunks of current versions only. Offsets are in characters of the version's text. Chunks, of which there
-- are thousands in a transaction, refer to their version and section without a foreign key: its check would be a third
-- of the time it takes to insert them.
CREATE TABLE ragstone.sections (
    tenant text COLLATE "C" NOT NULL,
    version uuid NOT NULL,
    ordinal integer NOT NULL,
    parent integer,
    level integer NOT NULL,
    path text[] NOT NULL,
    start_offset integer NOT NULL CHECK (start_offset >= 0),
    end_offset integer NOT NULL CHECK (end_offset >= start_offset),
    PRIMARY KEY (version, ordinal, tenant),
    FOREIGN KEY (version, tenant) REFERENCES ragstone.versions
);

CREATE TABLE ragstone.chunks (
    tenant text COLLATE "C" NOT NULL,
    id uuid NOT NULL,
    version uuid NOT NULL,
    ordinal integer NOT NULL,
    section integer NOT NULL,
    start_offset integer NOT NULL CHECK (start_offset >= 0),
    end_offset integer NOT NULL CHECK (end_offset > start_offset),
    first_page integer,
    last_page integer,
    tokens integer NOT NULL,
    text text NOT NULL,
    prefix text NOT NULL,
    text_hash bytea NOT NULL,  -- SHA-256 of prefix and text, by which its vector is found
    PRIMARY KEY (id, tenant),
    UNIQUE (version, ordinal, tenant)
);

-- Equal text is embedded once for a tenant and fingerprint; a vector outlives the chunks that asked for it.
CREATE TABLE ragstone.vectors (
    tenant text COLLATE "C" NOT NULL,
    fingerprint text COLLATE "C" NOT NULL,
    text_hash bytea NOT NULL,
    vector bytea STORAGE EXTERNAL NOT NULL,  -- float32, little-endian; not compressible
    PRIMARY KEY (text_hash, fingerprint, tenant)
);

CREATE TABLE ragstone.change_log (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text COLLATE "C" NOT NULL,
    collection uuid NOT NULL,
    generation uuid NOT NULL,
    document uuid NOT NULL,
    version uuid,  -- null: the document is gone from this generation
    at timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (generation, tenant) REFERENCES ragstone.generations
);

GRANT USAGE ON SCHEMA ragstone TO ragstone_tenant;
GRANT SELECT, INSERT ON ragstone.tenants, ragstone.fingerprints, ragstone.generations, ragstone.change_log
    TO ragstone_tenant;
GRANT SELECT, INSERT, UPDATE, DELETE ON ragstone.collections, ragstone.sources, ragstone.documents, ragstone.versions,
    ragstone.sections, ragstone.chunks, ragstone.vectors TO ragstone_tenant;

ALTER TABLE ragstone.tenants ENABLE ROW LEVEL SECURITY;
ALTER TABLE ragstone.collections ENABLE ROW LEVEL SECURITY;
ALTER TABLE ragstone.sources ENABLE ROW LEVEL SECURITY;
ALTER TABLE ragstone.generations ENABLE ROW LEVEL SECURITY;
ALTER TABLE ragstone.documents ENABLE ROW LEVEL SECURITY;
ALTER TABLE ragstone.versions ENABLE ROW LEVEL SECURITY;
ALTER TABLE ragstone.sections ENABLE ROW LEVEL SECURITY;
ALTER TABLE ragstone.chunks ENABLE ROW LEVEL SECURITY;
ALTER TABLE ragstone.vectors ENABLE ROW LEVEL SECURITY;
ALTER TABLE ragstone.change_log ENABLE ROW LEVEL SECURITY;

CREATE POLICY own ON ragstone.tenants TO ragstone_tenant USING (id = current_setting('ragstone.tenant', true));
CREATE POLICY own ON ragstone.collections TO ragstone_tenant USING (tenant = current_setting('ragstone.tenant', true));
CREATE POLICY own ON ragstone.sources TO ragstone_tenant USING (tenant = current_setting('ragstone.tenant', true));
CREATE POLICY own ON ragstone.generations TO ragstone_tenant USING (tenant = current_setting('ragstone.tenant', true));
CREATE POLICY own ON ragstone.documents TO ragstone_tenant USING (tenant = current_setting('ragstone.tenant', true));
CREATE POLICY own ON ragstone.versions TO ragstone_tenant USING (tenant = current_setting('ragstone.tenant', true));
CREATE POLICY own ON ragstone.sections TO ragstone_tenant USING (tenant = current_setting('ragstone.tenant', true));
CREATE POLICY own ON ragstone.chunks TO ragstone_tenant USING (tenant = current_setting('ragstone.tenant', true));
CREATE POLICY own ON ragstone.vectors TO ragstone_tenant USING (tenant = current_setting('ragstone.tenant', true));
CREATE POLICY own ON ragstone.change_log TO ragstone_tenant USING (tenant = current_setting('ragstone.tenant', true));
