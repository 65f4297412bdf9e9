-- Events that could not be handled yet, and those of the same key that arrived after them: a queue per key, so
-- that the order per key holds while everything else goes on. Empty most of the time.
CREATE TABLE parked_events (
    consumer      text        NOT NULL,
    -- What orders: the record's key, or the event's where the record has none. Bytes, because a record's key
    -- may hold what text cannot (NUL).
    key           bytea       NOT NULL,
    -- Place in the key's queue. Drawn under the key's lock, so it follows the order of commits.
    id            bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    event_id      uuid        NOT NULL,
    -- The record as it came, for the handler and, in the end, for the dead letter. The topic is without prefix.
    topic         text        NOT NULL,
    partition     integer     NOT NULL,
    record_offset bigint      NOT NULL,
    timestamp_ms  bigint,
    -- True: the broker's clock (LogAppendTime); false: the producer's (CreateTime).
    log_append    boolean     NOT NULL,
    record_key    bytea,
    value         bytea       NOT NULL,
    header_names  text[]      NOT NULL,
    header_values bytea[]     NOT NULL,
    -- When the next attempt is due; set for the head of each queue, and for no other row.
    due_at        timestamptz,
    attempts      integer     NOT NULL,
    first_error   text,
    last_error    text,
    parked_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, key, id)
) WITH (
    -- Rows come and go; a share of a table that is usually empty says nothing about its garbage.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 1000
);

-- An event that is delivered again while it is parked is parked once.
CREATE UNIQUE INDEX parked_events_once ON parked_events (consumer, event_id);

-- At most one head per key; and whether a key is parked is one look, however long its queue is.
CREATE UNIQUE INDEX parked_events_head ON parked_events (consumer, key) WHERE due_at IS NOT NULL;

-- What is due, oldest first.
CREATE INDEX parked_events_due ON parked_events (consumer, due_at) WHERE due_at IS NOT NULL;
