CREATE SCHEMA IF NOT EXISTS parley;

-- The latest owner of each input partition of a group that has handled anything.
CREATE TABLE IF NOT EXISTS parley.lane (
    group_name text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    epoch bigint NOT NULL,
    PRIMARY KEY (group_name, topic, partition)
);

-- The handled messages of each group, and what their handlers staged. settled_at
-- says since when the platform's own ledger knows it, too.
CREATE TABLE IF NOT EXISTS parley.inbox (
    group_name text NOT NULL,
    message_id bytea NOT NULL,
    staged jsonb,
    handled_at timestamptz NOT NULL DEFAULT now(),
    settled_at timestamptz,
    PRIMARY KEY (group_name, message_id)
);
CREATE INDEX IF NOT EXISTS inbox_settled ON parley.inbox (settled_at) WHERE settled_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS inbox_in_doubt ON parley.inbox (handled_at) WHERE settled_at IS NULL;

-- Messages to be sent.
CREATE TABLE IF NOT EXISTS parley.outbox (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL,
    partition integer NOT NULL,
    key bytea,
    value bytea,
    header_names text[] NOT NULL,
    header_values bytea[] NOT NULL,
    message_time timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Messages that cannot be sent, with the reason.
CREATE TABLE IF NOT EXISTS parley.outbox_parked (
    seq bigint PRIMARY KEY,
    topic text NOT NULL,
    partition integer NOT NULL,
    key bytea,
    value bytea,
    header_names text[] NOT NULL,
    header_values bytea[] NOT NULL,
    message_time timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    error text NOT NULL,
    parked_at timestamptz NOT NULL DEFAULT now()
);
