-- Statements, and parts of them, by name. What stands in braces is composed: the scope's number and dimensions, for a
-- partial index is used only where its condition stands in the statement as it is; a filter; and other parts.


-- Opening ------------------------------------------------------------------------------------------------------------

-- name: settle_session
SELECT
    set_config('search_path', concat_ws(', ', 'pg_catalog', 'public', (
        SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
        WHERE e.extname = 'vector'
    )), false),
    set_config('work_mem', '64MB', false), set_config('jit', 'off', false)

-- name: installed
SELECT
    EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = to_regclass('ragstone_index.points') AND attname = 'vector' AND NOT attisdropped
    ),
    to_regclass('ragstone_index.state') IS NOT NULL

-- name: layout
SELECT layout, signature FROM ragstone_index.state

-- name: lock_schema
SELECT pg_advisory_xact_lock(hashtextextended('ragstone_index.schema', 0))

-- name: extension
SELECT
    (SELECT extversion FROM pg_extension WHERE extname = 'vector'),
    (SELECT default_version FROM pg_available_extensions WHERE name = 'vector')

-- name: create_extension
CREATE EXTENSION vector

-- name: drop_schema
DROP SCHEMA IF EXISTS ragstone_index CASCADE

-- name: first_state
INSERT INTO ragstone_index.state (layout, signature, source, position) VALUES (%(layout)s, %(signature)s, '', 0)


-- Where it stands ----------------------------------------------------------------------------------------------------

-- name: source
SELECT source FROM ragstone_index.state

-- name: position
SELECT position FROM ragstone_index.state

-- name: scopes
SELECT tenant, generation, fingerprint FROM ragstone_index.scopes WHERE points > 0

-- name: health
SELECT
    (SELECT extversion FROM pg_extension WHERE extname = 'vector'),
    current_setting('server_version'),
    pg_is_in_recovery() OR current_setting('default_transaction_read_only')::boolean,
    (SELECT position FROM ragstone_index.state),
    coalesce(sum(s.points), 0)::bigint,
    coalesce(sum(s.points) FILTER (
        WHERE NOT s.graph AND s.points >= %(build_from)s AND s.dimensions <= %(widest)s
    ), 0)::bigint,
    count(*) FILTER (WHERE s.graph),
    coalesce(sum(s.removed) FILTER (WHERE s.graph), 0)::bigint,
    (
        SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
        WHERE relnamespace = 'ragstone_index'::regnamespace AND relkind = 'r'
    )
FROM (
    SELECT points, removed, dimensions, EXISTS (
        SELECT FROM pg_index WHERE indexrelid = to_regclass('ragstone_index.graph_' || number) AND indisvalid
    ) AS graph
    FROM ragstone_index.scopes
) s


-- Searching, as ragstone_tenant --------------------------------------------------------------------------------------

-- name: become_tenant
SELECT set_config('role', 'ragstone_tenant', true), set_config('ragstone.tenant', %(tenant)s, true)

-- name: scope
SELECT number, dimensions, points, EXISTS (
    SELECT FROM pg_index WHERE indexrelid = to_regclass('ragstone_index.graph_' || number) AND indisvalid
)
FROM ragstone_index.scopes
WHERE tenant = %(tenant)s AND generation = %(generation)s AND fingerprint = %(fingerprint)s

-- How many points the filter lets through, as far as that many documents tell.
-- name: probe
SELECT coalesce(sum(points), 0)::bigint FROM (
    SELECT d.points FROM ragstone_index.documents d WHERE d.scope = {scope} AND {where} LIMIT %(most)s
) d

-- name: count
SELECT coalesce(sum(d.points), 0)::bigint FROM ragstone_index.documents d WHERE d.scope = {scope} AND {where}

-- Sorting is made so dear that only the graph, which gives points in order, is left. Settings are the transaction's.
-- name: prefer_graph
SELECT
    set_config('enable_sort', 'off', true), set_config('enable_seqscan', 'off', true),
    set_config('hnsw.ef_search', %(ef)s, true), set_config('hnsw.iterative_scan', 'relaxed_order', true),
    set_config('hnsw.max_scan_tuples', %(most)s, true)

-- name: near_by_graph
WITH near AS MATERIALIZED (
    SELECT p.number, p.chunk, p.vector FROM ragstone_index.points p
    WHERE p.scope = {scope} AND {inside}
    ORDER BY p.vector::halfvec({dimensions}) <#> %(vector)s::halfvec({dimensions})
    LIMIT %(limit)s
)
SELECT number, chunk, -(vector::vector <#> %(vector)s::vector) AS cosine FROM near ORDER BY cosine DESC

-- A scalar subquery cannot be turned into a join, which would lose the order.
-- name: inside
(SELECT {where} FROM ragstone_index.documents d WHERE d.number = p.document)

-- OFFSET 0 keeps the ORDER BY away from the points, and so from their graphs.
-- name: near_exactly
SELECT p.number, p.chunk, -(p.vector::vector <#> %(vector)s::vector)
FROM (
    SELECT p.number, p.chunk, p.vector, p.vector <#> %(vector)s::halfvec AS distance
    FROM {points} OFFSET 0
) p
ORDER BY p.distance
LIMIT %(limit)s

-- name: all_points
ragstone_index.points p WHERE p.scope = {scope}

-- name: filtered_points
ragstone_index.documents d JOIN ragstone_index.points p ON p.document = d.number
WHERE d.scope = {scope} AND p.scope = {scope} AND {where}

-- name: containing
SELECT word, count(*) FROM ragstone_index.postings
WHERE scope = {scope} AND word = ANY(%(words)s::int[])
GROUP BY word

-- The best by BM25 (ragstone.index.lexical): their numbers and scores. {best} says which may be among them.
-- name: best
WITH scored AS MATERIALIZED ({scoring})
SELECT s.point, s.score FROM {best} LIMIT %(limit)s

-- name: scored
SELECT t.point, sum(t.score) AS score
FROM unnest(%(words)s::int[], %(rarities)s::float8[]) AS w (word, rarity)
CROSS JOIN LATERAL (
    SELECT point, weight * w.rarity AS score FROM ragstone_index.postings
    WHERE scope = {scope} AND word = w.word
    OFFSET 0
) t
GROUP BY t.point

-- The scores by frequent words as well, of what the others give more than a least score.
-- name: scored_among
SELECT r.point, r.score + coalesce(f.score, 0) AS score
FROM ({scored} HAVING sum(t.score) > %(least)s) r
CROSS JOIN LATERAL (
    SELECT sum(p.weight * w.rarity) AS score
    FROM unnest(%(frequent)s::int[], %(rarities_of_frequent)s::float8[]) AS w (word, rarity)
    CROSS JOIN LATERAL (
        SELECT weight FROM ragstone_index.postings WHERE scope = {scope} AND word = w.word AND point = r.point OFFSET 0
    ) p
) f

-- name: scores
SELECT a.point, sum(p.weight * w.rarity)
FROM unnest(%(points)s::bigint[]) AS a (point)
CROSS JOIN unnest(%(words)s::int[], %(rarities)s::float8[]) AS w (word, rarity)
CROSS JOIN LATERAL (
    SELECT weight FROM ragstone_index.postings WHERE scope = {scope} AND word = w.word AND point = a.point OFFSET 0
) p
GROUP BY a.point

-- name: best_of_everything
scored s ORDER BY s.score DESC

-- IS TRUE keeps it from becoming a join, for which the planner, not knowing how many have a score, takes a wrong plan.
-- name: best_of_few
scored s WHERE (s.point IN (SELECT p.number FROM {points})) IS TRUE ORDER BY s.score DESC

-- Most are let through: looked at one after the other, until there are enough.
-- name: best_of_many
(SELECT point, score FROM scored ORDER BY score DESC OFFSET 0) s
WHERE (SELECT {inside} FROM ragstone_index.points p WHERE p.number = s.point)

-- name: cosines
SELECT number, chunk, -(vector::vector <#> %(vector)s::vector) FROM ragstone_index.points
WHERE scope = {scope} AND number = ANY(%(numbers)s::bigint[])

-- name: chunks
SELECT number, chunk, NULL FROM ragstone_index.points
WHERE scope = {scope} AND number = ANY(%(numbers)s::bigint[])

-- name: scan
SELECT p.chunk, d.id, p.hash FROM ragstone_index.points p
JOIN ragstone_index.documents d ON d.number = p.document
WHERE p.scope = {scope} AND (%(after)s::uuid IS NULL OR p.chunk > %(after)s)
ORDER BY p.chunk
LIMIT %(limit)s


-- Writing, as the owner ----------------------------------------------------------------------------------------------
-- Publishing writes together with others; whoever brings the index up to date from the log writes alone. Otherwise what
-- it read before somebody published could come to stand beside what was published.

-- name: write_with_others
SELECT pg_advisory_xact_lock_shared(hashtextextended('ragstone_index.rows', 0))

-- name: write_alone
SELECT pg_advisory_xact_lock(hashtextextended('ragstone_index.rows', 0))

-- name: spaces
SELECT DISTINCT fingerprint, dimensions FROM ragstone_index.scopes WHERE fingerprint = ANY(%(fingerprints)s)

-- name: add_scopes
INSERT INTO ragstone_index.scopes (tenant, generation, fingerprint, dimensions)
SELECT * FROM unnest(%(tenants)s::text[], %(generations)s::uuid[], %(fingerprints)s::text[], %(dimensions)s::int[])
ON CONFLICT DO NOTHING

-- name: numbers_of_scopes
SELECT s.tenant, s.generation, s.fingerprint, s.number FROM ragstone_index.scopes s
JOIN unnest(%(tenants)s::text[], %(generations)s::uuid[], %(fingerprints)s::text[])
    AS w (tenant, generation, fingerprint) USING (tenant, generation, fingerprint)

-- name: numbers_of_rows
SELECT nextval('ragstone_index.numbers_of_rows') FROM generate_series(1, %(count)s)

-- Each posting is found by its key; the planner, without statistics, would read through all of them.
-- name: remove
WITH old AS MATERIALIZED (
    SELECT d.number, d.scope FROM unnest(%(scopes)s::int[], %(ids)s::uuid[]) AS w (scope, id)
    JOIN ragstone_index.documents d ON d.scope = w.scope AND d.id = w.id
),
points AS MATERIALIZED (
    SELECT p.number, p.scope, p.words FROM old
    CROSS JOIN LATERAL (
        SELECT number, scope, words FROM ragstone_index.points WHERE document = old.number OFFSET 0
    ) p
),
no_postings AS (
    DELETE FROM ragstone_index.postings WHERE ctid = ANY(ARRAY(
        SELECT t.ctid FROM points p CROSS JOIN LATERAL unnest(p.words) AS w (word)
        CROSS JOIN LATERAL (
            SELECT ctid FROM ragstone_index.postings WHERE scope = p.scope AND word = w.word AND point = p.number
            OFFSET 0
        ) t
    ))
),
no_numbers AS (
    DELETE FROM ragstone_index.numbers WHERE document = ANY(ARRAY(SELECT number FROM old))
),
no_documents AS (
    DELETE FROM ragstone_index.documents WHERE number = ANY(ARRAY(SELECT number FROM old))
),
no_points AS (
    DELETE FROM ragstone_index.points WHERE number = ANY(ARRAY(SELECT number FROM points)) RETURNING scope
)
SELECT scope, count(*) FROM no_points GROUP BY scope

-- name: copy_documents
COPY ragstone_index.documents (number, scope, id, points, terms) FROM STDIN (FORMAT binary)

-- name: copy_numbers
COPY ragstone_index.numbers (document, scope, key, value) FROM STDIN (FORMAT binary)

-- name: copy_points
COPY ragstone_index.points (number, scope, document, chunk, hash, words, vector) FROM STDIN (FORMAT binary)

-- name: copy_postings
COPY ragstone_index.postings (scope, word, point, weight) FROM STDIN (FORMAT binary)

-- name: count_points
UPDATE ragstone_index.scopes s SET points = s.points + c.added - c.removed, removed = s.removed + c.removed
FROM unnest(%(scopes)s::int[], %(added)s::bigint[], %(removed)s::bigint[]) AS c (scope, added, removed)
WHERE s.number = c.scope

-- name: move
UPDATE ragstone_index.state SET position = %(position)s

-- An index that has not followed any catalog follows the one that it is in, from its first entry on.
-- name: move_along
UPDATE ragstone_index.state SET position = %(after)s, source = %(source)s
WHERE position = %(before)s AND (source = %(source)s OR source = '' AND position = 0)

-- name: reset
TRUNCATE ragstone_index.scopes, ragstone_index.documents, ragstone_index.numbers, ragstone_index.points,
    ragstone_index.postings

-- name: reset_state
UPDATE ragstone_index.state SET source = %(source)s, position = 0

-- name: some_documents
SELECT id FROM ragstone_index.documents WHERE scope = {scope} LIMIT %(limit)s

-- name: forget_scope
DELETE FROM ragstone_index.scopes WHERE number = {scope}


-- Graphs -------------------------------------------------------------------------------------------------------------

-- False too where nothing can be built: a standby is given the graphs by its primary.
-- name: maintain_alone
SELECT CASE
    WHEN current_setting('transaction_read_only')::boolean THEN false
    ELSE pg_try_advisory_lock(hashtextextended('ragstone_index.graphs', 0))
END

-- name: stop_maintaining
SELECT pg_cancel_backend(pid) FROM pg_locks, hashtextextended('ragstone_index.graphs', 0) AS key
WHERE locktype = 'advisory' AND granted AND objsubid = 1
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND classid::bigint = key >> 32 & 4294967295 AND objid::bigint = key & 4294967295

-- name: graphs
SELECT c.relname, i.indisvalid FROM pg_class c
JOIN pg_index i ON i.indexrelid = c.oid
WHERE c.relnamespace = 'ragstone_index'::regnamespace AND starts_with(c.relname, 'graph_')

-- name: sizes
SELECT number, dimensions, points, removed FROM ragstone_index.scopes

-- name: analyze
VACUUM (ANALYZE) ragstone_index.postings, ragstone_index.documents, ragstone_index.numbers

-- name: analyze_points
ANALYZE ragstone_index.points

-- name: build_with
SELECT set_config('maintenance_work_mem', %(memory)s, false),
    set_config('max_parallel_maintenance_workers', %(workers)s, false)

-- name: build
CREATE INDEX CONCURRENTLY {graph} ON ragstone_index.points
USING hnsw ((vector::halfvec({dimensions})) halfvec_ip_ops) WITH (m = 16, ef_construction = 100) WHERE scope = {scope}

-- name: rebuild
REINDEX INDEX CONCURRENTLY ragstone_index.{graph}

-- name: drop_graph
DROP INDEX CONCURRENTLY IF EXISTS ragstone_index.{graph}

-- name: drop_graph_now
DROP INDEX IF EXISTS ragstone_index.{graph}

-- name: built
UPDATE ragstone_index.scopes SET removed = greatest(removed - %(removed)s, 0) WHERE number = {scope}
