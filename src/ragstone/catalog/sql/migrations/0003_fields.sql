-- The names of what documents can be filtered by: a filter that names another is refused.
CREATE TABLE ragstone.fields (
    tenant text COLLATE "C" NOT NULL,
    collection uuid NOT NULL,
    name text COLLATE "C" NOT NULL,
    PRIMARY KEY (collection, name, tenant),
    FOREIGN KEY (collection, tenant) REFERENCES ragstone.collections
);
GRANT SELECT, INSERT, DELETE ON ragstone.fields TO ragstone_tenant;
ALTER TABLE ragstone.fields ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON ragstone.fields TO ragstone_tenant USING (tenant = current_setting('ragstone.tenant', true));

INSERT INTO ragstone.fields (tenant, collection, name)
WITH RECURSIVE found AS (
    SELECT d.tenant, d.collection, each.key AS name, each.value
    FROM ragstone.versions v
    JOIN ragstone.documents d ON d.tenant = v.tenant AND d.id = v.document
    CROSS JOIN LATERAL jsonb_each(CASE WHEN jsonb_typeof(v.metadata) = 'object' THEN v.metadata ELSE '{}' END) each
    WHERE v.ended_at IS NULL
    UNION ALL
    SELECT f.tenant, f.collection, f.name || '.' || each.key, each.value
    FROM found f
    CROSS JOIN LATERAL jsonb_each(CASE WHEN jsonb_typeof(f.value) = 'object' THEN f.value ELSE '{}' END) each
)
SELECT DISTINCT tenant, collection,
    CASE WHEN name IN (
        'tenant', 'collection', 'source', 'uri', 'title', 'media_type', 'modified_at', 'published_at', 'sample'
    ) THEN 'metadata.' ELSE '' END || name
FROM found
WHERE jsonb_typeof(value) NOT IN ('object', 'null') AND length(name) <= 500;

-- Of all that an index is given of a chunk: what it holds can be compared with what it should.
CREATE FUNCTION ragstone.point_hash(
    text_hash bytea, source text, title text, media_type text, modified_at timestamptz, metadata jsonb
) RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN substr(sha256(text_hash || sha256(convert_to(
    jsonb_build_array(source, title, media_type, extract(epoch FROM modified_at), metadata)::text, 'UTF8'
))), 1, 16);

-- What `ragstone tune` found, by engine.
ALTER TABLE ragstone.generations ADD COLUMN tuning jsonb NOT NULL DEFAULT '{}';
