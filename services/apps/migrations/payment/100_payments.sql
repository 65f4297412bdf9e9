-- The payment of each order: one row for every order that was ever seen, refused and cancelled ones included,
-- because what is on record is what makes requests idempotent. Times are microseconds since 1970 (UTC).
CREATE TABLE payments (
    order_id      uuid    PRIMARY KEY,
    -- The provider's idempotency key.
    payment_id    uuid    NOT NULL,
    status        text    NOT NULL CHECK (status IN
        ('REQUESTED', 'CAPTURED', 'FAILED', 'REFUNDING', 'REFUNDED', 'VOIDING', 'VOIDED', 'CANCELLED')),
    -- What is, or would be, captured: minor units of the currency.
    amount_minor  bigint  NOT NULL CHECK (amount_minor >= 0),
    currency      text    NOT NULL,
    -- Why it failed, for people.
    detail        text,
    -- How often the provider was asked for what it is asked for now.
    attempts      integer NOT NULL DEFAULT 0,
    -- When the provider is to be asked, or, while a worker is at it, when another one may take over.
    due_at_us     bigint,
    -- The event that made it necessary to ask, encoded. It holds the customer's address and is removed when
    -- the provider has answered, which also keeps old rows narrow.
    cause         bytea,
    created_at_us bigint  NOT NULL,
    updated_at_us bigint  NOT NULL,
    CHECK ((due_at_us IS NOT NULL) = (status IN ('REQUESTED', 'REFUNDING', 'VOIDING'))),
    CHECK ((cause IS NOT NULL) = (due_at_us IS NOT NULL))
);

-- For the worker: what the provider is to be asked. Nearly empty, however large the table grows.
CREATE INDEX payments_due ON payments (due_at_us) WHERE due_at_us IS NOT NULL;
