-- Events of documents are put in order by the moment at which their source was looked at. A sequence and not a clock
-- tells the moments: every process draws from it, and it never goes back.
CREATE SEQUENCE ragstone.observations;
GRANT USAGE ON SEQUENCE ragstone.observations TO ragstone_tenant;

-- When the source was last looked at for it: an older observation changes nothing any more. A deleted document stays as
-- a tombstone, so that a late event cannot bring it back.
ALTER TABLE ragstone.documents ADD COLUMN seen bigint NOT NULL DEFAULT 0;

ALTER TABLE ragstone.collections
    ADD COLUMN previous uuid,  -- served before the serving one: where a rollback goes
    ADD FOREIGN KEY (previous, id, tenant) REFERENCES ragstone.generations (id, collection, tenant);

-- All generations that are not dropped are kept up to date. A dropped one keeps its row, for its entries in the change
-- log tell indexes to let its points go.
ALTER TABLE ragstone.generations
    ADD COLUMN embedding jsonb NOT NULL DEFAULT '{}',  -- the settings that its embedder is made from
    ADD COLUMN served_at timestamptz,  -- when it last began to serve
    ADD COLUMN dropped_at timestamptz,
    ADD COLUMN checked_at timestamptz,  -- when its model was last compared with the stored probes
    ADD COLUMN quarantine text;  -- why nothing may be written to it
GRANT UPDATE ON ragstone.generations TO ragstone_tenant;

-- What a prompt gets in place of the chunk: offsets in the version's text.
ALTER TABLE ragstone.chunks
    ADD COLUMN parent_start integer,
    ADD COLUMN parent_end integer,
    ADD CHECK (parent_start <= start_offset AND parent_end >= end_offset);

-- Documents that could not be indexed, until they are indexed or gone.
CREATE TABLE ragstone.failures (
    tenant text COLLATE "C" NOT NULL,
    collection uuid NOT NULL,
    uri text COLLATE "C" NOT NULL,
    source text NOT NULL,
    revision text,  -- the one that failed
    settings text NOT NULL,  -- digest of what it failed under: another may read it
    code text NOT NULL,
    reason text NOT NULL,
    hint text NOT NULL,
    attempts integer NOT NULL,
    failed_at timestamptz NOT NULL DEFAULT now(),
    dropped boolean NOT NULL DEFAULT false,  -- seen and accepted by an operator
    PRIMARY KEY (collection, uri, tenant),
    FOREIGN KEY (collection, tenant) REFERENCES ragstone.collections
);

-- The documents of push sources: what was sent last, or the tombstone of it.
CREATE TABLE ragstone.pushed (
    tenant text COLLATE "C" NOT NULL,
    collection uuid NOT NULL,
    source text COLLATE "C" NOT NULL,
    uri text COLLATE "C" NOT NULL,
    version bigint NOT NULL,  -- the sender's: a lower one comes too late
    revision text NOT NULL,
    name text NOT NULL,
    data bytea STORAGE EXTERNAL,  -- null: deleted
    charset text,
    modified_at timestamptz,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (collection, uri, tenant),
    FOREIGN KEY (collection, tenant) REFERENCES ragstone.collections
);

-- What was asked, for comparing generations on real questions.
CREATE TABLE ragstone.questions (
    tenant text COLLATE "C" NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    collection uuid NOT NULL,
    question text NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id, tenant),
    FOREIGN KEY (collection, tenant) REFERENCES ragstone.collections
);
CREATE INDEX ON ragstone.questions (collection, asked_at);

GRANT SELECT, INSERT, UPDATE, DELETE ON ragstone.failures, ragstone.pushed, ragstone.questions TO ragstone_tenant;
ALTER TABLE ragstone.failures ENABLE ROW LEVEL SECURITY;
ALTER TABLE ragstone.pushed ENABLE ROW LEVEL SECURITY;
ALTER TABLE ragstone.questions ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON ragstone.failures TO ragstone_tenant USING (tenant = current_setting('ragstone.tenant', true));
CREATE POLICY own ON ragstone.pushed TO ragstone_tenant USING (tenant = current_setting('ragstone.tenant', true));
CREATE POLICY own ON ragstone.questions TO ragstone_tenant USING (tenant = current_setting('ragstone.tenant', true));
