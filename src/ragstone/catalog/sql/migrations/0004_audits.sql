-- Up to this position the change log holds of each document in a generation the newest entry alone.
CREATE TABLE ragstone.compacted (position bigint NOT NULL);
INSERT INTO ragstone.compacted VALUES (0);
CREATE INDEX ON ragstone.change_log (document, generation);

-- What the last audit of each index has found. Counts only: they are nobody's data.
CREATE TABLE ragstone.audits (
    index text COLLATE "C" PRIMARY KEY,  -- which one: its engine and where it is
    at timestamptz NOT NULL DEFAULT now(),
    found jsonb NOT NULL  -- how many points, by kind of divergence
);
