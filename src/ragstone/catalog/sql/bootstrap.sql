-- The role that every read and write on behalf of a tenant takes on. It owns nothing and cannot bypass row-level
-- security, whatever the user that connects may do. Roles belong to the whole server: another database of it may be
-- creating this one right now.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'ragstone_tenant') THEN
        CREATE ROLE ragstone_tenant NOLOGIN NOSUPERUSER NOBYPASSRLS;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;
END $$;

DO $$
BEGIN
    IF NOT pg_has_role(current_user, 'ragstone_tenant', 'SET') THEN
        EXECUTE format('GRANT ragstone_tenant TO %I WITH SET TRUE, INHERIT FALSE', current_user);
    END IF;
END $$;

CREATE SCHEMA IF NOT EXISTS ragstone;

CREATE TABLE IF NOT EXISTS ragstone.migrations (
    name text PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);
