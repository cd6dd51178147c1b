"""What is in a catalog when all is done."""

from __future__ import annotations

from typing import Any, LiteralString, TypeAlias

import psycopg

Rows: TypeAlias = list[tuple[Any, ...]]

LEFT_OVER: tuple[LiteralString, ...] = (
    "SELECT status, args FROM ragstone_queue.procrastinate_jobs",
    "SELECT id FROM ragstone_queue.procrastinate_workers",
    "SELECT uri, code, reason FROM ragstone.failures",
    "SELECT objid, mode FROM pg_locks WHERE locktype = 'advisory'"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    # Each version was published once, and the last entry of a document is what is served of it.
    "SELECT version FROM ragstone.change_log WHERE version IS NOT NULL GROUP BY 1 HAVING count(*) > 1",
    """
    SELECT l.document FROM (
        SELECT DISTINCT ON (document, generation) document, generation, version FROM ragstone.change_log
        ORDER BY document, generation, position DESC
    ) l
    FULL JOIN (SELECT id, document, generation FROM ragstone.versions WHERE ended_at IS NULL) v
        USING (document, generation)
    WHERE l.version IS DISTINCT FROM v.id
    """,
)

CONTENT = {
    "versions": """
        SELECT d.uri, d.source, v.content_hash, v.title, v.text FROM ragstone.versions v
        JOIN ragstone.documents d ON d.tenant = v.tenant AND d.id = v.document
        WHERE v.tenant = %s AND v.ended_at IS NULL ORDER BY 1""",
    "sections": """
        SELECT d.uri, s.ordinal, s.parent, s.path, s.start_offset, s.end_offset FROM ragstone.sections s
        LEFT JOIN ragstone.versions v ON v.tenant = s.tenant AND v.id = s.version
        LEFT JOIN ragstone.documents d ON d.tenant = v.tenant AND d.id = v.document
        WHERE s.tenant = %s ORDER BY 1, 2""",
    "chunks": """
        SELECT d.uri, c.ordinal, c.section, c.start_offset, c.end_offset, c.text, c.prefix, c.text_hash
        FROM ragstone.chunks c
        LEFT JOIN ragstone.versions v ON v.tenant = c.tenant AND v.id = c.version
        LEFT JOIN ragstone.documents d ON d.tenant = v.tenant AND d.id = v.document
        WHERE c.tenant = %s ORDER BY 1, 2""",
    "vectors": "SELECT fingerprint, text_hash, vector FROM ragstone.vectors WHERE tenant = %s ORDER BY 1, 2",
}


def left_over(url: str) -> dict[str, Rows]:
    """Anything that should not be there when all is done and no worker runs."""
    with psycopg.connect(url) as connection:
        found = {query: connection.execute(query).fetchall() for query in LEFT_OVER}
    return {query: rows for query, rows in found.items() if rows}


def content(url: str, tenant: str) -> dict[str, Rows]:
    """All that the catalog serves of a tenant, and all vectors that it keeps."""
    with psycopg.connect(url) as connection:
        return {name: connection.execute(query, [tenant]).fetchall() for name, query in CONTENT.items()}
