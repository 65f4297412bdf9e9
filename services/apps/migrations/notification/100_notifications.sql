-- What customers are told: one row per order and kind, so that nobody is told twice however often an event
-- arrives. Written by the handler, worked off by the sender, kept as the record of what was tried.
CREATE TABLE notifications (
    -- Order of arrival: the messages about one order are sent in it.
    id              bigint   NOT NULL GENERATED ALWAYS AS IDENTITY,
    order_id        uuid     NOT NULL,
    kind            text     NOT NULL CHECK (kind IN ('CREATED', 'CONFIRMED', 'CANCELLED')),
    -- The event to tell about, encoded. It holds the customer's address and is removed when the work is done.
    cause           bytea,
    attempts        smallint NOT NULL DEFAULT 0,
    -- When the next attempt is due, or, during one, when another replica may take it over.
    due_at_us       bigint   NOT NULL,
    -- What became of each channel; none while it is to be tried.
    email_outcome   text     CHECK (email_outcome IN ('SENT', 'FAILED', 'SKIPPED')),
    email_detail    text,
    sms_outcome     text     CHECK (sms_outcome IN ('SENT', 'FAILED', 'SKIPPED')),
    sms_detail      text,
    created_at_us   bigint   NOT NULL,
    finished_at_us  bigint,
    PRIMARY KEY (order_id, kind),
    CHECK ((cause IS NULL) = (finished_at_us IS NOT NULL))
);

-- For the sender: what is to be done, oldest first. Nearly empty, however large the table grows.
CREATE INDEX notifications_open ON notifications (due_at_us, id) WHERE finished_at_us IS NULL;
