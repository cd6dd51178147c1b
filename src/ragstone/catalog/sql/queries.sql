-- Statements by name. Those that run for a tenant say nothing of it where they read: row-level security does.


-- name: become_tenant
SELECT set_config('role', 'ragstone_tenant', true), set_config('ragstone.tenant', %(tenant)s, true)

-- name: become_owner
SELECT set_config('role', 'none', true)


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
SELECT id, tenant, name, serving, previous FROM ragstone.collections WHERE name = %(name)s

-- name: lock_work
SELECT pg_try_advisory_lock(hashtextextended(%(work)s, 0))

-- name: is_free
SELECT pg_try_advisory_xact_lock(hashtextextended(%(work)s, 0))

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
INSERT INTO ragstone.generations (tenant, id, collection, fingerprint, settings, embedding)
VALUES (%(tenant)s, %(id)s, %(collection)s, %(fingerprint)s, %(settings)s, %(embedding)s)
ON CONFLICT (id, tenant) DO UPDATE SET
    embedding = excluded.embedding, dropped_at = NULL,
    created_at = CASE WHEN generations.dropped_at IS NULL THEN generations.created_at ELSE now() END

-- name: generations
SELECT
    g.id, g.tenant, g.collection, g.settings, g.embedding, g.tuning, g.created_at, g.served_at, g.checked_at,
    g.quarantine, f.digest, f.dimensions, f.spec
FROM ragstone.generations g
JOIN ragstone.fingerprints f ON f.digest = g.fingerprint
WHERE g.collection = %(collection)s AND g.dropped_at IS NULL
ORDER BY g.created_at, g.id

-- name: generation
SELECT
    g.id, g.tenant, g.collection, g.settings, g.embedding, g.tuning, g.created_at, g.served_at, g.checked_at,
    g.quarantine, f.digest, f.dimensions, f.spec
FROM ragstone.generations g
JOIN ragstone.fingerprints f ON f.digest = g.fingerprint
WHERE g.id = %(id)s

-- name: serve
WITH began AS (
    UPDATE ragstone.generations SET served_at = now() WHERE id = %(generation)s AND dropped_at IS NULL RETURNING id
)
UPDATE ragstone.collections c
SET serving = began.id, previous = CASE WHEN serving = began.id THEN previous ELSE serving END
FROM began
WHERE c.id = %(collection)s
RETURNING c.id

-- name: checked
UPDATE ragstone.generations SET checked_at = now(), quarantine = %(reason)s WHERE id = %(generation)s

-- name: record_tuning
UPDATE ragstone.generations SET tuning = tuning || %(tuning)s::jsonb WHERE id = %(generation)s

-- What serves may have changed while this waited: only the next statement sees it.
-- name: lock_generation
SELECT FROM ragstone.generations WHERE id = %(generation)s FOR UPDATE

-- name: drop_generation
WITH left_alone AS (
    UPDATE ragstone.collections SET previous = NULL WHERE id = %(collection)s AND previous = %(generation)s
)
UPDATE ragstone.generations SET dropped_at = now()
WHERE id = %(generation)s
    AND NOT EXISTS (SELECT FROM ragstone.collections WHERE id = %(collection)s AND serving = %(generation)s)
RETURNING id

-- name: half_dropped
SELECT g.id FROM ragstone.generations g
WHERE g.collection = %(collection)s AND g.dropped_at IS NOT NULL
    AND EXISTS (SELECT FROM ragstone.versions v WHERE v.tenant = g.tenant AND v.generation = g.id)

-- name: documents_of_dropped
SELECT v.document FROM ragstone.generations g
JOIN ragstone.versions v ON v.tenant = g.tenant AND v.generation = g.id AND v.ended_at IS NULL
JOIN ragstone.documents d ON d.tenant = v.tenant AND d.id = v.document
WHERE g.id = %(generation)s AND g.dropped_at IS NOT NULL
ORDER BY v.document
LIMIT %(limit)s
FOR SHARE OF g
FOR UPDATE OF d

-- name: delete_versions_of_dropped
DELETE FROM ragstone.versions v USING ragstone.generations g
WHERE g.tenant = v.tenant AND g.id = v.generation AND g.dropped_at IS NOT NULL AND v.ended_at IS NOT NULL
    AND v.generation = %(generation)s


-- Reading ------------------------------------------------------------------------------------------------------------

-- name: states
SELECT d.id, d.uri, d.source, v.revision, v.content_hash, v.last_indexed_at
FROM ragstone.versions v
JOIN ragstone.documents d ON d.tenant = v.tenant AND d.id = v.document
WHERE v.generation = %(generation)s AND v.ended_at IS NULL AND starts_with(d.uri, %(prefix)s)

-- One observation of a document: its moment, and its state in every generation that is kept up to date.
-- name: observe
SELECT
    (SELECT nextval('ragstone.observations')), g.id, g.quarantine, d.id, d.uri, d.source, v.revision, v.content_hash,
    v.last_indexed_at
FROM ragstone.generations g
LEFT JOIN ragstone.documents d ON d.tenant = g.tenant AND d.collection = g.collection AND d.uri = %(uri)s
LEFT JOIN ragstone.versions v
    ON v.tenant = d.tenant AND v.document = d.id AND v.generation = g.id AND v.ended_at IS NULL
WHERE g.collection = %(collection)s AND g.dropped_at IS NULL
ORDER BY g.created_at, g.id

-- name: moment
SELECT nextval('ragstone.observations')

-- name: spans
SELECT substr(v.text, w.first + 1, w.last - w.first)
FROM unnest(%(versions)s::uuid[], %(starts)s::int[], %(ends)s::int[]) WITH ORDINALITY AS w (version, first, last, place)
LEFT JOIN ragstone.versions v ON v.id = w.version AND v.generation = %(generation)s AND v.ended_at IS NULL
ORDER BY w.place

-- OFFSET 0 makes the planner look each row up by its key. In a new database, without statistics, it would take a
-- generation for a handful of versions and read through all their chunks.
-- name: chunks
SELECT
    c.id, v.document, c.version, d.uri, v.title, s.path, c.ordinal, c.start_offset, c.end_offset, c.text,
    c.first_page, c.last_page, c.parent_start, c.parent_end, v.modified_at
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
WITH held AS (SELECT version, count(*) AS chunks FROM ragstone.chunks GROUP BY version)
SELECT g.id, count(v.id), coalesce(sum(h.chunks), 0)::bigint, max(v.last_indexed_at)
FROM ragstone.generations g
LEFT JOIN ragstone.versions v ON v.tenant = g.tenant AND v.generation = g.id AND v.ended_at IS NULL
LEFT JOIN held h ON h.version = v.id
WHERE g.collection = %(collection)s
GROUP BY g.id, g.created_at
ORDER BY g.created_at, g.id

-- name: count_documents
SELECT count(*) FROM ragstone.versions WHERE generation = %(generation)s AND ended_at IS NULL

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
WHERE g.id = %(generation)s AND g.dropped_at IS NULL
FOR SHARE OF g

-- name: lock_sources
SELECT id, source FROM ragstone.documents WHERE id = ANY(%(ids)s) ORDER BY id FOR UPDATE

-- A document that was observed later already is left as it is, and not returned.
-- name: claim_documents
INSERT INTO ragstone.documents (tenant, id, collection, uri, source, seen)
SELECT %(tenant)s, id, %(collection)s, uri, source, coalesce(seen, nextval('ragstone.observations'))
FROM unnest(%(ids)s::uuid[], %(uris)s::text[], %(sources)s::text[], %(seen)s::bigint[]) AS new (id, uri, source, seen)
ON CONFLICT (id, tenant) DO UPDATE SET source = excluded.source, deleted_at = NULL, seen = excluded.seen
WHERE documents.seen <= excluded.seen
RETURNING id

-- Vectors that are not used may be swept away; not while a version that may use them is being published.
-- name: keep_vectors
SELECT pg_advisory_xact_lock_shared(hashtextextended('ragstone.vectors', 0))

-- name: lock_vectors
SELECT pg_advisory_xact_lock(hashtextextended('ragstone.vectors', 0))

-- name: claim
UPDATE ragstone.documents SET source = %(source)s
WHERE collection = %(collection)s AND uri = ANY(%(uris)s) AND source <> %(source)s
RETURNING id

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

-- name: end_documents
UPDATE ragstone.versions SET ended_at = now(), text = NULL
WHERE ended_at IS NULL AND document = ANY(%(ids)s)
    AND (%(generation)s::uuid IS NULL OR generation = %(generation)s)
RETURNING generation, document, NULL

-- name: current_versions
SELECT generation, document, id FROM ragstone.versions WHERE document = ANY(%(ids)s) AND ended_at IS NULL

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
    tenant, id, version, ordinal, section, start_offset, end_offset, first_page, last_page, parent_start, parent_end,
    tokens, text, prefix, text_hash
)
SELECT
    %(tenant)s, id, version, ordinal, section, start_offset, end_offset, first_page, last_page, parent_start,
    parent_end, tokens, text, prefix, text_hash
FROM pg_temp.new_chunks

-- name: add_vectors
INSERT INTO ragstone.vectors (tenant, fingerprint, text_hash, vector)
SELECT %(tenant)s, %(fingerprint)s, text_hash, vector FROM pg_temp.new_vectors ORDER BY text_hash
ON CONFLICT DO NOTHING

-- name: add_fields
INSERT INTO ragstone.fields (tenant, collection, name)
SELECT %(tenant)s, %(collection)s, name FROM unnest(%(fields)s::text[]) AS new (name)
ON CONFLICT DO NOTHING

-- name: fields
SELECT name FROM ragstone.fields WHERE collection = %(collection)s

-- name: mark_seen
UPDATE ragstone.documents SET seen = greatest(seen, %(seen)s)
WHERE collection = %(collection)s AND uri = ANY(%(uris)s)

-- name: touch
UPDATE ragstone.versions v SET revision = seen.revision, last_indexed_at = now()
FROM unnest(%(uris)s::text[], %(revisions)s::text[]) AS seen (uri, revision)
JOIN ragstone.documents d ON d.collection = %(collection)s AND d.uri = seen.uri
WHERE v.tenant = d.tenant AND v.document = d.id AND v.generation = %(generation)s AND v.ended_at IS NULL

-- Those of the documents that no later observation has found.
-- name: lock_deletable
SELECT id FROM ragstone.documents
WHERE collection = %(collection)s AND uri = ANY(%(uris)s) AND (%(seen)s::bigint IS NULL OR seen <= %(seen)s)
ORDER BY id
FOR UPDATE

-- name: mark_deleted
UPDATE ragstone.documents
SET deleted_at = coalesce(deleted_at, now()), seen = coalesce(%(seen)s::bigint, nextval('ragstone.observations'))
WHERE id = ANY(%(ids)s)


-- The change log -----------------------------------------------------------------------------------------------------

-- Positions are given out under a lock that is held until the transaction has committed. So they become visible in
-- order, and a reader that has seen one has seen all before it. Without it a slow transaction would commit a lower
-- position after a reader had gone past it.
-- name: lock_change_log
SELECT pg_advisory_xact_lock(hashtextextended('ragstone.change_log', 0))

-- name: log
INSERT INTO ragstone.change_log (tenant, collection, generation, document, version)
SELECT %(tenant)s, %(collection)s, generation, document, version
FROM unnest(%(generations)s::uuid[], %(documents)s::uuid[], %(versions)s::uuid[]) AS e (generation, document, version)
RETURNING position

-- What an index in this database is given of these entries, before they are appended.
-- name: entered
SELECT g.tenant, g.collection, g.id, g.fingerprint, f.dimensions, e.document, 0
FROM unnest(%(generations)s::uuid[], %(documents)s::uuid[]) AS e (generation, document)
JOIN ragstone.generations g ON g.tenant = %(tenant)s AND g.id = e.generation
JOIN ragstone.fingerprints f ON f.digest = g.fingerprint

-- name: notify
SELECT pg_notify('ragstone_changes', '')

-- name: identity
SELECT extract(epoch FROM min(applied_at))::text FROM ragstone.migrations

-- name: identity_and_head
SELECT
    (SELECT extract(epoch FROM min(applied_at))::text FROM ragstone.migrations),
    (SELECT coalesce(max(position), 0) FROM ragstone.change_log)

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
SELECT
    v.tenant, v.generation, v.document, c.id, c.prefix || c.text,
    ragstone.point_hash(c.text_hash, d.source, v.title, v.media_type, v.modified_at, v.metadata), x.vector
FROM unnest(%(tenants)s::text[], %(generations)s::uuid[], %(documents)s::uuid[]) AS w (tenant, generation, document)
JOIN ragstone.generations g ON g.tenant = w.tenant AND g.id = w.generation
JOIN ragstone.versions v
    ON v.tenant = w.tenant AND v.generation = w.generation AND v.document = w.document AND v.ended_at IS NULL
JOIN ragstone.documents d ON d.tenant = v.tenant AND d.id = v.document
JOIN ragstone.chunks c ON c.tenant = v.tenant AND c.version = v.id
LEFT JOIN ragstone.vectors x
    ON x.tenant = c.tenant AND x.fingerprint = g.fingerprint AND x.text_hash = c.text_hash
ORDER BY v.document, v.generation, c.ordinal

-- name: attributes
SELECT
    v.tenant, v.generation, v.document, d.source, d.uri, v.title, v.media_type, v.modified_at, v.published_at,
    v.metadata
FROM unnest(%(tenants)s::text[], %(generations)s::uuid[], %(documents)s::uuid[]) AS w (tenant, generation, document)
JOIN ragstone.versions v
    ON v.tenant = w.tenant AND v.generation = w.generation AND v.document = w.document AND v.ended_at IS NULL
JOIN ragstone.documents d ON d.tenant = v.tenant AND d.id = v.document


-- Failures -----------------------------------------------------------------------------------------------------------

-- name: record_failures
INSERT INTO ragstone.failures (
    tenant, collection, uri, source, revision, settings, code, reason, hint, attempts
)
SELECT %(tenant)s, %(collection)s, new.*
FROM unnest(
    %(uri)s::text[], %(source)s::text[], %(revision)s::text[], %(settings)s::text[], %(code)s::text[],
    %(reason)s::text[], %(hint)s::text[], %(attempts)s::int[]
) AS new
ON CONFLICT (collection, uri, tenant) DO UPDATE SET
    source = excluded.source, revision = excluded.revision, settings = excluded.settings, code = excluded.code,
    reason = excluded.reason, hint = excluded.hint, attempts = excluded.attempts, failed_at = now(),
    dropped = failures.dropped AND failures.revision IS NOT DISTINCT FROM excluded.revision

-- name: failures
SELECT uri, source, revision, settings, code, reason, hint, attempts, failed_at, dropped
FROM ragstone.failures
WHERE collection = %(collection)s AND (%(source)s::text IS NULL OR source = %(source)s)
ORDER BY uri

-- name: count_failures
SELECT count(*) FROM ragstone.failures WHERE collection = %(collection)s AND NOT dropped

-- name: clear_failures
DELETE FROM ragstone.failures WHERE collection = %(collection)s AND uri = ANY(%(uris)s)

-- name: accept_failures
UPDATE ragstone.failures SET dropped = true WHERE collection = %(collection)s AND uri = ANY(%(uris)s)


-- Pushed documents ---------------------------------------------------------------------------------------------------

-- name: push
INSERT INTO ragstone.pushed (tenant, collection, source, uri, version, revision, name, data, charset, modified_at)
VALUES (
    %(tenant)s, %(collection)s, %(source)s, %(uri)s,
    coalesce(%(version)s::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint),
    %(revision)s, %(name)s, %(data)s, %(charset)s, %(modified_at)s
)
ON CONFLICT (collection, uri, tenant) DO UPDATE SET
    source = excluded.source, version = CASE WHEN %(version)s::bigint IS NULL
        THEN greatest(excluded.version, pushed.version + 1) ELSE excluded.version END,
    revision = excluded.revision, name = excluded.name, data = excluded.data, charset = excluded.charset,
    modified_at = excluded.modified_at, received_at = now()
WHERE %(version)s::bigint IS NULL OR pushed.version < excluded.version
RETURNING version

-- name: forget_pushed
DELETE FROM ragstone.pushed WHERE collection = %(collection)s AND source = %(source)s

-- name: pushed_items
SELECT uri, revision, name, modified_at, data IS NULL FROM ragstone.pushed
WHERE collection = %(collection)s AND source = %(source)s AND (%(uri)s::text IS NULL OR uri = %(uri)s)
ORDER BY uri

-- name: pushed_content
SELECT data, revision, charset, modified_at, octet_length(data) FROM ragstone.pushed
WHERE collection = %(collection)s AND source = %(source)s AND uri = %(uri)s AND data IS NOT NULL


-- Questions ----------------------------------------------------------------------------------------------------------

-- name: record_question
INSERT INTO ragstone.questions (tenant, collection, question) VALUES (%(tenant)s, %(collection)s, %(question)s)

-- name: sample_questions
SELECT question FROM (SELECT DISTINCT question FROM ragstone.questions WHERE collection = %(collection)s) q
ORDER BY md5(question) LIMIT %(limit)s

-- name: sample_headings
SELECT d.uri, s.path FROM ragstone.sections s
JOIN ragstone.versions v ON v.tenant = s.tenant AND v.id = s.version AND v.ended_at IS NULL
JOIN ragstone.documents d ON d.tenant = v.tenant AND d.id = v.document
WHERE v.generation = %(generation)s AND s.level > 0 AND s.path <> '{}'
ORDER BY md5(s.version::text || s.ordinal) LIMIT %(limit)s


-- Sweeping -----------------------------------------------------------------------------------------------------------

-- name: unused_vectors
SELECT x.text_hash, x.fingerprint FROM ragstone.vectors x
WHERE NOT EXISTS (
    SELECT FROM ragstone.chunks c
    JOIN ragstone.versions v ON v.tenant = c.tenant AND v.id = c.version
    JOIN ragstone.generations g ON g.tenant = v.tenant AND g.id = v.generation
    WHERE c.text_hash = x.text_hash AND g.fingerprint = x.fingerprint
)
LIMIT %(limit)s

-- Those that were found unused, but for what was published since a position before that.
-- name: sweep_vectors
DELETE FROM ragstone.vectors x
USING unnest(%(hashes)s::bytea[], %(fingerprints)s::text[]) AS u (text_hash, fingerprint)
WHERE x.text_hash = u.text_hash AND x.fingerprint = u.fingerprint AND x.text_hash NOT IN (
    SELECT c.text_hash FROM ragstone.change_log l
    JOIN ragstone.chunks c ON c.tenant = l.tenant AND c.version = l.version
    WHERE l.position > %(after)s
)
RETURNING x.text_hash

-- name: sweep_versions
DELETE FROM ragstone.versions v USING ragstone.generations g
WHERE g.tenant = v.tenant AND g.id = v.generation AND g.collection = %(collection)s
    AND v.ended_at < now() - make_interval(hours => %(hours)s)
RETURNING v.id

-- name: sweep_tombstones
DELETE FROM ragstone.documents d
WHERE d.collection = %(collection)s AND d.deleted_at < now() - make_interval(hours => %(hours)s)
    AND NOT EXISTS (SELECT FROM ragstone.versions v WHERE v.tenant = d.tenant AND v.document = d.id)
RETURNING d.id

-- name: sweep_pushed
DELETE FROM ragstone.pushed
WHERE collection = %(collection)s AND data IS NULL AND received_at < now() - make_interval(hours => %(hours)s)
RETURNING uri

-- name: sweep_questions
DELETE FROM ragstone.questions
WHERE collection = %(collection)s AND asked_at < now() - make_interval(hours => %(hours)s)
RETURNING id


-- Jobs ---------------------------------------------------------------------------------------------------------------
-- The tables and functions are procrastinate's; its workers take jobs and finish them.

-- Their functions would look for each other on the search path of whoever calls them.
-- name: anchor_queue
DO $$
DECLARE
    one record;
BEGIN
    FOR one IN SELECT oid::regprocedure AS name FROM pg_proc WHERE pronamespace = 'ragstone_queue'::regnamespace LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = ragstone_queue, pg_temp', one.name);
    END LOOP;
END $$

-- A document has one waiting job at most. Of two, the one that is due earlier stays, with the higher priority. The
-- count of a job that is tried again goes on, for passes come more often than late tries.
-- name: enqueue
INSERT INTO ragstone_queue.procrastinate_jobs AS jobs (
    queue_name, task_name, priority, lock, queueing_lock, args, scheduled_at
)
SELECT
    %(queue)s::text, 'index', priority, %(queue)s::text || ' ' || uri, %(queue)s::text || ' ' || uri,
    jsonb_build_object('source', source, 'uri', uri, 'lane', lane, 'attempt', attempt, 'error', error),
    CASE WHEN delay > 0 THEN now() + make_interval(secs => delay) END
FROM unnest(
    %(uris)s::text[], %(sources)s::text[], %(lanes)s::text[], %(priorities)s::int[], %(attempts)s::int[],
    %(errors)s::text[], %(delays)s::float8[]
) AS new (uri, source, lane, priority, attempt, error, delay)
ON CONFLICT (queueing_lock) WHERE status = 'todo' DO UPDATE SET
    priority = greatest(jobs.priority, excluded.priority),
    args = CASE
        WHEN coalesce(excluded.scheduled_at, '-infinity') < coalesce(jobs.scheduled_at, '-infinity') THEN
            excluded.args || jsonb_build_object('attempt', jobs.args -> 'attempt', 'error', jobs.args -> 'error')
        ELSE jobs.args
    END || jsonb_build_object(
        'lane', CASE WHEN excluded.priority > jobs.priority THEN excluded.args ELSE jobs.args END -> 'lane'
    ),
    scheduled_at = nullif(
        least(coalesce(excluded.scheduled_at, '-infinity'), coalesce(jobs.scheduled_at, '-infinity')), '-infinity'
    )

-- name: jobs
SELECT args, status::text, scheduled_at, priority FROM ragstone_queue.procrastinate_jobs
WHERE queue_name = %(queue)s AND status IN ('todo', 'doing')
ORDER BY status = 'doing' DESC, coalesce(scheduled_at > now(), false), priority DESC, id LIMIT %(limit)s

-- name: count_jobs
SELECT
    count(*) FILTER (WHERE status = 'todo' AND (scheduled_at IS NULL OR scheduled_at <= now())),
    count(*) FILTER (WHERE status = 'doing'),
    count(*) FILTER (WHERE status = 'todo' AND scheduled_at > now())
FROM ragstone_queue.procrastinate_jobs
WHERE queue_name = %(queue)s

-- name: busy
SELECT EXISTS (
    SELECT FROM ragstone_queue.procrastinate_jobs
    WHERE queue_name = %(queue)s
        AND (status = 'doing' OR status = 'todo' AND (scheduled_at IS NULL OR scheduled_at <= now()))
)

-- name: drop_jobs
DELETE FROM ragstone_queue.procrastinate_jobs
WHERE queue_name = %(queue)s AND status = 'todo' AND (%(locks)s::text[] IS NULL OR lock = ANY(%(locks)s))
RETURNING id

-- Gives how many jobs of the source there were, running ones included: at 0 none of them is left.
-- name: withdraw_jobs
WITH waiting AS (
    DELETE FROM ragstone_queue.procrastinate_jobs
    WHERE queue_name = %(queue)s AND status = 'todo' AND args ->> 'source' = %(source)s
)
SELECT count(*) FROM ragstone_queue.procrastinate_jobs
WHERE queue_name = %(queue)s AND status IN ('todo', 'doing') AND args ->> 'source' = %(source)s

-- name: finish_job
DELETE FROM ragstone_queue.procrastinate_jobs WHERE id = %(id)s AND status = 'doing'

-- name: give_back
WITH own AS (
    DELETE FROM ragstone_queue.procrastinate_jobs WHERE id = %(id)s AND status = 'doing'
    RETURNING queue_name, task_name, priority, lock, queueing_lock, args
)
INSERT INTO ragstone_queue.procrastinate_jobs (queue_name, task_name, priority, lock, queueing_lock, args)
SELECT * FROM own
ON CONFLICT DO NOTHING

-- Jobs whose worker has died wait again, unless the document has a newer job already.
-- name: take_back
WITH lost AS (
    DELETE FROM ragstone_queue.procrastinate_jobs jobs
    WHERE queue_name = %(queue)s AND status = 'doing' AND NOT EXISTS (
        SELECT FROM ragstone_queue.procrastinate_workers w
        WHERE w.id = jobs.worker_id AND w.last_heartbeat > now() - make_interval(secs => %(lease)s)
    )
    RETURNING queue_name, task_name, priority, lock, queueing_lock, args
)
INSERT INTO ragstone_queue.procrastinate_jobs (queue_name, task_name, priority, lock, queueing_lock, args)
SELECT * FROM lost
ON CONFLICT DO NOTHING
RETURNING id

-- name: count_workers
SELECT count(*) FROM ragstone_queue.procrastinate_workers WHERE last_heartbeat > now() - make_interval(secs => %(lease)s)


-- Auditing -----------------------------------------------------------------------------------------------------------
-- An index holds all tenants' points, so these see all tenants; of documents they give ids and URIs, never text.

-- A generation whose drop was interrupted still has its documents in the index, until a sweep ends them.
-- name: held_scopes
SELECT g.tenant, g.id, g.fingerprint
FROM ragstone.generations g
WHERE g.dropped_at IS NULL OR EXISTS (
    SELECT FROM ragstone.versions v WHERE v.tenant = g.tenant AND v.generation = g.id AND v.ended_at IS NULL
)
ORDER BY g.tenant, g.created_at, g.id

-- name: holdings
WITH held AS (SELECT tenant, version, count(*) AS chunks FROM ragstone.chunks GROUP BY tenant, version)
SELECT g.tenant, g.id, g.fingerprint, c.name, c.serving = g.id, count(v.id), coalesce(sum(h.chunks), 0)::bigint
FROM ragstone.generations g
JOIN ragstone.collections c ON c.tenant = g.tenant AND c.id = g.collection
LEFT JOIN ragstone.versions v ON v.tenant = g.tenant AND v.generation = g.id AND v.ended_at IS NULL
LEFT JOIN held h ON h.tenant = v.tenant AND h.version = v.id
WHERE g.dropped_at IS NULL
GROUP BY g.tenant, g.id, c.name, c.serving
ORDER BY g.tenant, c.name, g.created_at, g.id

-- All rows will be read: the plan must not be one whose first rows come quickly and whose last never do.
-- name: read_all_of_cursors
SET LOCAL cursor_tuple_fraction = 1

-- name: expected_points
SELECT c.id, v.document, ragstone.point_hash(c.text_hash, d.source, v.title, v.media_type, v.modified_at, v.metadata)
FROM ragstone.generations g
JOIN ragstone.versions v ON v.tenant = g.tenant AND v.generation = g.id AND v.ended_at IS NULL
JOIN ragstone.documents d ON d.tenant = v.tenant AND d.id = v.document
JOIN ragstone.chunks c ON c.tenant = v.tenant AND c.version = v.id
WHERE g.tenant = %(tenant)s AND g.id = %(generation)s AND g.fingerprint = %(fingerprint)s
ORDER BY c.id

-- name: changed_since
SELECT DISTINCT document FROM ragstone.change_log
WHERE position > %(after)s AND tenant = %(tenant)s AND generation = %(generation)s
    AND document = ANY(%(documents)s)

-- name: count_changed_since
SELECT count(DISTINCT document) FROM ragstone.change_log
WHERE position > %(after)s AND tenant = %(tenant)s AND generation = %(generation)s

-- name: foreign_documents
SELECT id FROM ragstone.documents WHERE id = ANY(%(documents)s) AND tenant <> %(tenant)s

-- name: uris
SELECT id, uri FROM ragstone.documents WHERE id = ANY(%(documents)s)

-- Whatever an index has of these documents in the generation is then made what it should be.
-- name: log_documents
INSERT INTO ragstone.change_log (tenant, collection, generation, document, version)
SELECT g.tenant, g.collection, g.id, w.document, v.id
FROM unnest(%(documents)s::uuid[]) AS w (document)
JOIN ragstone.generations g ON g.id = %(generation)s
LEFT JOIN ragstone.versions v
    ON v.tenant = g.tenant AND v.document = w.document AND v.generation = g.id AND v.ended_at IS NULL

-- name: log_everything
WITH logged AS (
    INSERT INTO ragstone.change_log (tenant, collection, generation, document, version)
    SELECT v.tenant, g.collection, v.generation, v.document, v.id
    FROM ragstone.versions v
    JOIN ragstone.generations g ON g.tenant = v.tenant AND g.id = v.generation AND g.dropped_at IS NULL
    WHERE v.ended_at IS NULL
    ORDER BY v.tenant, v.generation, v.document
    RETURNING position
)
SELECT count(*), coalesce(max(position), 0) FROM logged

-- Neither is it written to nor made anew, nor dropped, while this is held.
-- name: lock_scope
SELECT g.dropped_at IS NULL OR EXISTS (
    SELECT FROM ragstone.versions v WHERE v.tenant = g.tenant AND v.generation = g.id AND v.ended_at IS NULL
)
FROM ragstone.generations g
WHERE g.tenant = %(tenant)s AND g.id = %(generation)s AND g.fingerprint = %(fingerprint)s
FOR NO KEY UPDATE OF g

-- name: record_audit
INSERT INTO ragstone.audits (index, found) VALUES (%(index)s, %(found)s)
ON CONFLICT (index) DO UPDATE SET at = now(), found = excluded.found

-- name: last_audit
SELECT at, found FROM ragstone.audits WHERE index = %(index)s

-- name: lock_compaction
SELECT FROM ragstone.compacted FOR UPDATE

-- Each of the next entries that were not looked at yet makes all earlier ones of its document useless. The newest of a
-- document stays, and so does the log's last: the head does not move.
-- name: compact
WITH looked_at AS (
    SELECT position, tenant, generation, document FROM ragstone.change_log
    WHERE position > (SELECT position FROM ragstone.compacted)
    ORDER BY position
    LIMIT %(limit)s
),
newest AS (
    SELECT tenant, generation, document, max(position) AS position FROM looked_at
    GROUP BY tenant, generation, document
),
superseded AS (
    DELETE FROM ragstone.change_log l USING newest n
    WHERE l.document = n.document AND l.generation = n.generation AND l.tenant = n.tenant AND l.position < n.position
    RETURNING l.position
),
moved AS (
    UPDATE ragstone.compacted SET position = (SELECT max(position) FROM looked_at)
    WHERE EXISTS (SELECT FROM looked_at)
)
SELECT (SELECT count(*) FROM superseded), (SELECT count(*) FROM looked_at)
