-- The shipment of each order: one row for every order that was ever seen, refused and cancelled ones included,
-- because what is on record is what makes requests idempotent. Times are microseconds since 1970 (UTC).
CREATE TABLE shipments (
    order_id        uuid    PRIMARY KEY,
    -- The carrier's idempotency key.
    shipment_id     uuid    NOT NULL,
    status          text    NOT NULL CHECK (status IN ('REQUESTED', 'SCHEDULED', 'DISPATCHED', 'DELIVERED',
        'FAILED', 'RECALLING', 'RECALLED', 'VOIDING', 'VOIDED', 'CANCELLED')),
    -- What was agreed with the carrier.
    carrier         text,
    tracking_number text,
    -- Why it failed, for people.
    detail          text,
    -- How often the carrier was asked for what it is asked for now.
    attempts        integer NOT NULL DEFAULT 0,
    -- When the carrier is to be asked, or, while a worker is at it, when another one may take over; of a
    -- parcel on its way, when it arrives.
    due_at_us       bigint,
    -- The event that made it necessary, encoded. It holds the customer's address and is removed when it is
    -- done, which also keeps old rows narrow.
    cause           bytea,
    created_at_us   bigint  NOT NULL,
    updated_at_us   bigint  NOT NULL,
    CHECK ((due_at_us IS NOT NULL) = (status IN ('REQUESTED', 'DISPATCHED', 'RECALLING', 'VOIDING'))),
    CHECK ((cause IS NOT NULL) = (due_at_us IS NOT NULL)),
    CHECK (status NOT IN ('SCHEDULED', 'DISPATCHED', 'DELIVERED') OR tracking_number IS NOT NULL)
);

-- For the worker: what is to be done. Nearly empty, however large the table grows.
CREATE INDEX shipments_due ON shipments (due_at_us) WHERE due_at_us IS NOT NULL;
