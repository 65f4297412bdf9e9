-- Events that a committed transaction wants published. A row lives until the broker has acknowledged it.
CREATE TABLE outbox (
    -- Hash of the key: rows of one bucket are published in id order by the one relay that owns the bucket.
    bucket     smallint    NOT NULL,
    id         bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    event_id   uuid        NOT NULL,
    -- Without the pipeline's prefix, which the relay puts before it.
    topic      text        NOT NULL,
    key        text        NOT NULL,
    -- JSON: [["name", "value"], ...], in the order in which they are sent.
    headers    text        NOT NULL,
    payload    bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- The only index, and exactly the relay's reading order: a bucket's rows by id.
    PRIMARY KEY (bucket, id)
) WITH (
    -- Every row is deleted within moments, so a share of the table (usually empty) says nothing about its
    -- garbage: vacuum by count, before scans have to step over more than a few pages of dead rows.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 5000,
    -- Statistics of a table that is empty most of the time only mislead the planner; keep them fresh by count.
    autovacuum_analyze_scale_factor = 0,
    autovacuum_analyze_threshold = 5000
);
