-- Rows are sent by COPY, which row-level security does not allow into the tables themselves; they are inserted from
-- these, which empty themselves at the end of every transaction.
DO $$
BEGIN
    IF to_regclass('pg_temp.new_vectors') IS NULL THEN
        CREATE TEMP TABLE new_sections (
            version uuid, ordinal integer, parent integer, level integer, path text[],
            start_offset integer, end_offset integer
        ) ON COMMIT DELETE ROWS;
        CREATE TEMP TABLE new_chunks (
            id uuid, version uuid, ordinal integer, section integer, start_offset integer, end_offset integer,
            first_page integer, last_page integer, parent_start integer, parent_end integer, tokens integer, text text,
            prefix text, text_hash bytea
        ) ON COMMIT DELETE ROWS;
        CREATE TEMP TABLE new_vectors (text_hash bytea, vector bytea) ON COMMIT DELETE ROWS;
        GRANT SELECT, INSERT ON new_sections, new_chunks, new_vectors TO ragstone_tenant;
    END IF;
END $$;
