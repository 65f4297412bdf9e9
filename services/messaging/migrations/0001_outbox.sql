-- Events that a committed transaction wants published. A row lives until the broker has acknowledged its events.
CREATE TABLE outbox (
    -- Hash of the key: rows of one bucket are published in id order by the one relay that owns the bucket.
    bucket     smallint    NOT NULL,
    id         bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    -- How many events are in it, for the backlog's metric.
    events     integer     NOT NULL,
    -- The events of one transaction and bucket, packed (see outbox/parcel.rs): rows are what costs.
    records    bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- The only index, and exactly the relay's reading order: a bucket's rows by id.
    PRIMARY KEY (bucket, id)
) WITH (
    -- Every row is deleted within moments, so a share of the table (usually empty) says nothing about its
    -- garbage: vacuum by count, before scans have to step over more than a few pages of dead rows.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 5000,
    -- The same for the chunks of large rows, which are a table of their own.
    toast.autovacuum_vacuum_scale_factor = 0,
    toast.autovacuum_vacuum_threshold = 20000,
    -- Statistics of a table that is empty most of the time only mislead the planner; keep them fresh by count.
    autovacuum_analyze_scale_factor = 0,
    autovacuum_analyze_threshold = 5000
);

-- Stored as they are: compressing what lives for milliseconds costs more than it saves.
ALTER TABLE outbox ALTER COLUMN records SET STORAGE EXTERNAL;
