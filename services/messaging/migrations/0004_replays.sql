-- Who had dead letters replayed, why, and what became of each. Written before and after each is sent, so that
-- even a crash in between leaves the intent on record. Never cleaned up: it is the record of what people did.
CREATE TABLE replay_runs (
    run_id     uuid        PRIMARY KEY,
    -- The dead-letter topic, with the pipeline's prefix.
    topic      text        NOT NULL,
    operator   text        NOT NULL,
    reason     text        NOT NULL,
    -- What was selected, in words.
    selection  text        NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    -- None: still running, or broken off.
    ended_at   timestamptz
);

CREATE TABLE replayed_events (
    run_id        uuid        NOT NULL REFERENCES replay_runs,
    -- The dead letter's place, and its timestamp: should the topic be created anew, places repeat.
    topic         text        NOT NULL,
    partition     integer     NOT NULL,
    record_offset bigint      NOT NULL,
    timestamp_ms  bigint,
    event_id      uuid,
    -- Where it was sent, with prefix.
    target        text        NOT NULL,
    -- How often it has been replayed, this time included.
    replays       integer     NOT NULL,
    intended_at   timestamptz NOT NULL DEFAULT now(),
    -- None: not known. It may have been sent; sent again, its consumers recognise it.
    outcome       text        CHECK (outcome IN ('SENT', 'FAILED')),
    error         text,
    settled_at    timestamptz,
    PRIMARY KEY (topic, partition, record_offset, run_id)
);
