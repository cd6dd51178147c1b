-- Statements by name. Those that run for a tenant say nothing of it where they read: row-level security does.


-- name: become_tenant
SELECT set_config('role', 'ragstone_tenant', true), set_config('ragstone.tenant', %(tenant)s, true)


-- Opening ------------------------------------------------------------------------------------------------------------

-- name: schema_state
SELECT
    array(SELECT name FROM ragstone.migrations ORDER BY name),
    EXISTS (
        SELECT FROM pg_roles
        WHERE rolname = 'ragstone_tenant' AND NOT rolsuper AND NOT rolbypassrls AND pg_has_role(oid, 'SET')
    )

-- name: lock_migrations
SELECT pg_advisory_xact_lock(hashtextextended('ragstone.migrations', 0))

-- name: record_migration
INSERT INTO ragstone.migrations (name) VALUES (%(name)s)


-- Collections, sources, generations ----------------------------------------------------------------------------------

-- name: add_tenant
INSERT INTO ragstone.tenants (id) VALUES (%(tenant)s) ON CONFLICT DO NOTHING

-- name: add_collection
INSERT INTO ragstone.collections (tenant, id, name) VALUES (%(tenant)s, %(id)s, %(name)s) ON CONFLICT DO NOTHING

-- name: collection
SELECT id, tenant, name, serving FROM ragstone.collections WHERE name = %(name)s

-- name: lock_source
SELECT pg_advisory_lock(hashtextextended(%(source)s, 0))

-- name: record_source
INSERT INTO ragstone.sources (tenant, collection, name, prefix, last_synced_at)
VALUES (%(tenant)s, %(collection)s, %(name)s, %(prefix)s, now())
ON CONFLICT (collection, name, tenant) DO UPDATE
SET prefix = excluded.prefix, last_synced_at = excluded.last_synced_at

-- name: forget_source
DELETE FROM ragstone.sources WHERE collection = %(collection)s AND name = %(name)s

-- name: sources
SELECT name, prefix, last_synced_at FROM ragstone.sources WHERE collection = %(collection)s ORDER BY name

-- name: add_fingerprint
INSERT INTO ragstone.fingerprints (digest, spec, dimensions, probes)
VALUES (%(digest)s, %(spec)s, %(dimensions)s, %(probes)s)
ON CONFLICT DO NOTHING

-- name: probes
SELECT probes FROM ragstone.fingerprints WHERE digest = %(digest)s

-- name: add_generation
INSERT INTO ragstone.generations (tenant, id, collection, fingerprint, settings)
VALUES (%(tenant)s, %(id)s, %(collection)s, %(fingerprint)s, %(settings)s)
ON CONFLICT DO NOTHING

-- name: generations
SELECT g.id, g.tenant, g.collection, g.settings, g.created_at, f.digest, f.dimensions, f.spec
FROM ragstone.generations g
JOIN ragstone.fingerprints f ON f.digest = g.fingerprint
WHERE g.collection = %(collection)s
ORDER BY g.created_at, g.id

-- name: generation
SELECT g.id, g.tenant, g.collection, g.settings, g.created_at, f.digest, f.dimensions, f.spec
FROM ragstone.generations g
JOIN ragstone.fingerprints f ON f.digest = g.fingerprint
WHERE g.id = %(id)s

-- name: serve
UPDATE ragstone.collections SET serving = %(generation)s WHERE id = %(collection)s RETURNING id


-- Reading ------------------------------------------------------------------------------------------------------------

-- name: states
SELECT d.id, d.uri, d.source, v.revision, v.content_hash, v.last_indexed_at
FROM ragstone.versions v
JOIN ragstone.documents d ON d.tenant = v.tenant AND d.id = v.document
WHERE v.generation = %(generation)s AND v.ended_at IS NULL AND starts_with(d.uri, %(prefix)s)

-- OFFSET 0 makes the planner look each row up by its key. In a new database, without statistics, it would take a
-- generation for a handful of versions and read through all their chunks.
-- name: chunks
SELECT
    c.id, v.document, c.version, d.uri, v.title, s.path, c.ordinal, c.start_offset, c.end_offset, c.text,
    c.first_page, c.last_page, v.modified_at
FROM ragstone.chunks c
CROSS JOIN LATERAL (
    SELECT tenant, document, generation, title, modified_at, ended_at FROM ragstone.versions
    WHERE tenant = c.tenant AND id = c.version
    OFFSET 0
) v
CROSS JOIN LATERAL (SELECT uri FROM ragstone.documents WHERE tenant = v.tenant AND id = v.document OFFSET 0) d
CROSS JOIN LATERAL (
    SELECT path FROM ragstone.sections WHERE tenant = c.tenant AND version = c.version AND ordinal = c.section OFFSET 0
) s
WHERE c.id = ANY(%(ids)s) AND v.generation = %(generation)s AND v.ended_at IS NULL

-- name: vectors
SELECT text_hash, vector FROM ragstone.vectors
WHERE fingerprint = %(fingerprint)s AND text_hash = ANY(%(hashes)b::bytea[])

-- name: generation_stats
SELECT
    g.id,
    count(DISTINCT v.document),
    count(c.id),
    count(DISTINCT c.text_hash),
    max(v.last_indexed_at)
FROM ragstone.generations g
LEFT JOIN ragstone.versions v ON v.tenant = g.tenant AND v.generation = g.id AND v.ended_at IS NULL
LEFT JOIN ragstone.chunks c ON c.tenant = v.tenant AND c.version = v.id
WHERE g.collection = %(collection)s
GROUP BY g.id, g.created_at
ORDER BY g.created_at, g.id

-- name: collection_stats
SELECT
    (SELECT count(*) FROM ragstone.documents WHERE collection = %(collection)s AND deleted_at IS NULL),
    (SELECT count(*) FROM ragstone.vectors WHERE fingerprint IN (
        SELECT fingerprint FROM ragstone.generations WHERE collection = %(collection)s
    )),
    (SELECT coalesce(max(position), 0) FROM ragstone.change_log WHERE collection = %(collection)s)


-- Publishing ---------------------------------------------------------------------------------------------------------
-- Locks are taken in one order, so that writers wait for each other and never in a circle: documents by id, vectors by
-- hash, the change log last.

-- name: collection_of_generation
SELECT c.name FROM ragstone.generations g
JOIN ragstone.collections c ON c.tenant = g.tenant AND c.id = g.collection
WHERE g.id = %(generation)s

-- name: claim_documents
INSERT INTO ragstone.documents (tenant, id, collection, uri, source)
SELECT %(tenant)s, id, %(collection)s, uri, source
FROM unnest(%(ids)s::uuid[], %(uris)s::text[], %(sources)s::text[]) AS new (id, uri, source)
ON CONFLICT (id, tenant) DO UPDATE SET source = excluded.source, deleted_at = NULL

-- name: claim
UPDATE ragstone.documents SET source = %(source)s
WHERE collection = %(collection)s AND uri = ANY(%(uris)s) AND source <> %(source)s

-- name: lock_documents
SELECT FROM ragstone.documents WHERE collection = %(collection)s AND uri = ANY(%(uris)s) ORDER BY id FOR UPDATE

-- name: last_numbers
SELECT document, max(number) FROM ragstone.versions
WHERE generation = %(generation)s AND document = ANY(%(ids)s)
GROUP BY document

-- name: known_hashes
SELECT text_hash FROM ragstone.vectors
WHERE fingerprint = %(fingerprint)s AND text_hash = ANY(%(hashes)b::bytea[])

-- name: delete_chunks
DELETE FROM ragstone.chunks c USING ragstone.versions v
WHERE v.tenant = c.tenant AND v.id = c.version AND v.ended_at IS NULL AND v.document = ANY(%(ids)s)
    AND (%(generation)s::uuid IS NULL OR v.generation = %(generation)s)

-- name: delete_sections
DELETE FROM ragstone.sections s USING ragstone.versions v
WHERE v.tenant = s.tenant AND v.id = s.version AND v.ended_at IS NULL AND v.document = ANY(%(ids)s)
    AND (%(generation)s::uuid IS NULL OR v.generation = %(generation)s)

-- name: end_versions
UPDATE ragstone.versions SET ended_at = now(), text = NULL
WHERE ended_at IS NULL AND document = ANY(%(ids)s) AND generation = %(generation)s

-- name: add_version
INSERT INTO ragstone.versions (
    tenant, id, document, generation, number, revision, content_hash, title, media_type, metadata, text, page_starts,
    modified_at
) VALUES (
    %(tenant)s, %(id)s, %(document)s, %(generation)s, %(number)s, %(revision)s, %(content_hash)s, %(title)s,
    %(media_type)s, %(metadata)s, %(text)s, %(page_starts)s, %(modified_at)s
)

-- name: copy_sections
COPY pg_temp.new_sections FROM STDIN (FORMAT binary)

-- name: copy_chunks
COPY pg_temp.new_chunks FROM STDIN (FORMAT binary)

-- name: copy_vectors
COPY pg_temp.new_vectors FROM STDIN (FORMAT binary)

-- name: add_sections
INSERT INTO ragstone.sections (tenant, version, ordinal, parent, level, path, start_offset, end_offset)
SELECT %(tenant)s, version, ordinal, parent, level, path, start_offset, end_offset FROM pg_temp.new_sections

-- name: add_chunks
INSERT INTO ragstone.chunks (
    tenant, id, version, ordinal, section, start_offset, end_offset, first_page, last_page, tokens, text, prefix,
    text_hash
)
SELECT
    %(tenant)s, id, version, ordinal, section, start_offset, end_offset, first_page, last_page, tokens, text, prefix,
    text_hash
FROM pg_temp.new_chunks

-- name: add_vectors
INSERT INTO ragstone.vectors (tenant, fingerprint, text_hash, vector)
SELECT %(tenant)s, %(fingerprint)s, text_hash, vector FROM pg_temp.new_vectors ORDER BY text_hash
ON CONFLICT DO NOTHING

-- name: touch
UPDATE ragstone.versions v SET revision = seen.revision, last_indexed_at = now()
FROM unnest(%(uris)s::text[], %(revisions)s::text[]) AS seen (uri, revision)
JOIN ragstone.documents d ON d.collection = %(collection)s AND d.uri = seen.uri
WHERE v.tenant = d.tenant AND v.document = d.id AND v.generation = %(generation)s AND v.ended_at IS NULL

-- name: mark_deleted
UPDATE ragstone.documents SET deleted_at = now() WHERE id = ANY(%(ids)s) AND deleted_at IS NULL


-- The change log -----------------------------------------------------------------------------------------------------

-- Positions are given out under a lock that is held until the transaction has committed. So they become visible in
-- order, and a reader that has seen one has seen all before it. Without it a slow transaction would commit a lower
-- position after a reader had gone past it.
-- name: lock_change_log
SELECT pg_advisory_xact_lock(hashtextextended('ragstone.change_log', 0))

-- name: log_published
INSERT INTO ragstone.change_log (tenant, collection, generation, document, version)
SELECT %(tenant)s, %(collection)s, %(generation)s, document, version
FROM unnest(%(documents)s::uuid[], %(versions)s::uuid[]) AS published (document, version)
RETURNING position

-- name: log_deleted
WITH ended AS (
    UPDATE ragstone.versions SET ended_at = now(), text = NULL
    WHERE ended_at IS NULL AND document = ANY(%(ids)s)
    RETURNING document, generation
)
INSERT INTO ragstone.change_log (tenant, collection, generation, document)
SELECT %(tenant)s, %(collection)s, generation, document FROM ended
RETURNING position

-- name: notify
SELECT pg_notify('ragstone_changes', '')

-- name: identity
SELECT extract(epoch FROM min(applied_at))::text FROM ragstone.migrations

-- name: head
SELECT coalesce(max(position), 0) FROM ragstone.change_log

-- name: changes
WITH entries AS (
    SELECT position, tenant, collection, generation, document
    FROM ragstone.change_log
    WHERE position > %(after)s
    ORDER BY position
    LIMIT %(limit)s
)
SELECT e.tenant, e.collection, e.generation, g.fingerprint, f.dimensions, e.document, max(e.position)
FROM entries e
JOIN ragstone.generations g ON g.tenant = e.tenant AND g.id = e.generation
JOIN ragstone.fingerprints f ON f.digest = g.fingerprint
GROUP BY e.tenant, e.collection, e.generation, g.fingerprint, f.dimensions, e.document
ORDER BY max(e.position)

-- name: points
SELECT v.tenant, v.generation, v.document, c.id, c.prefix || c.text, x.vector
FROM unnest(%(tenants)s::text[], %(generations)s::uuid[], %(documents)s::uuid[]) AS w (tenant, generation, document)
JOIN ragstone.generations g ON g.tenant = w.tenant AND g.id = w.generation
JOIN ragstone.versions v
    ON v.tenant = w.tenant AND v.generation = w.generation AND v.document = w.document AND v.ended_at IS NULL
JOIN ragstone.chunks c ON c.tenant = v.tenant AND c.version = v.id
LEFT JOIN ragstone.vectors x
    ON x.tenant = c.tenant AND x.fingerprint = g.fingerprint AND x.text_hash = c.text_hash
ORDER BY v.document, v.generation, c.ordinal
