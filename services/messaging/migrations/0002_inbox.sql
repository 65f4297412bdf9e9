-- Events that were handled, so that none has its effect twice. Written in the transaction of the effect.
CREATE TABLE inbox (
    -- Who handled it: two consumers in one database each handle an event once.
    consumer    text        NOT NULL,
    event_id    uuid        NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, event_id)
) WITH (
    -- Rows come and go by age only. A tenth of the table (instead of a fifth) keeps a day's garbage small.
    autovacuum_vacuum_scale_factor = 0.1
);

-- For the cleaner. BRIN, because rows are appended in the order of their age: a few pages for millions of
-- rows, and next to nothing to maintain per insert, where a B-tree would cost as much as the insert itself.
CREATE INDEX inbox_received_at ON inbox USING brin (received_at) WITH (pages_per_range = 32, autosummarize = on);
