-- Times are microseconds since 1970 (UTC), so that they pass through without rounding or time zones.
-- Money is minor units of its currency.

-- What was ordered. Written once and never changed: what changes stands in `sagas`, because PostgreSQL writes a
-- whole new row, and entries in all its indexes, for every change of one.
CREATE TABLE orders (
    order_id       uuid   PRIMARY KEY,
    customer_id    text   NOT NULL,
    correlation_id text   NOT NULL,
    -- What was asked for, so that the same request under the same id can be told from another one.
    fingerprint    bytea  NOT NULL,
    -- Who, what, where to and for how much, as the events carry it. Read as a whole, never searched.
    details        json   NOT NULL,
    created_at_us  bigint NOT NULL
);

-- The pages of the list, newest first: all orders, and by customer.
CREATE INDEX orders_newest ON orders (created_at_us DESC, order_id DESC);
CREATE INDEX orders_by_customer ON orders (customer_id, created_at_us DESC, order_id DESC);

-- How far each order is. The saga carries its own steps and limits: an order ends by the rules under which it
-- began.
CREATE TABLE sagas (
    order_id           uuid   PRIMARY KEY,
    status             text   NOT NULL CHECK (status IN ('PENDING', 'CONFIRMED', 'COMPLETED', 'CANCELLED')),
    cancel_reason      text,
    cancel_detail      text,
    steps              json   NOT NULL,
    step_timeout_ms    bigint NOT NULL,
    closing_timeout_ms bigint NOT NULL,
    deadline_us        bigint,
    -- When the sweep looks at the order next: never after its deadline, but it may be before. Deadlines move with
    -- every step; this does not, or every step would write to the index below.
    sweep_at_us        bigint,
    version            bigint NOT NULL,
    total_minor        bigint NOT NULL,
    currency           text   NOT NULL,
    created_at_us      bigint NOT NULL,
    updated_at_us      bigint NOT NULL,
    -- An order that has ended waits for nothing, and one that has not is never without a deadline.
    CHECK ((deadline_us IS NULL) = (status IN ('COMPLETED', 'CANCELLED'))),
    CHECK ((sweep_at_us IS NULL) = (deadline_us IS NULL) AND sweep_at_us <= deadline_us),
    CHECK ((cancel_reason IS NOT NULL) = (status = 'CANCELLED'))
) WITH (
    -- A row changes once per step: with room on its page, a step that moves neither status nor sweep writes no
    -- index entry (HOT).
    fillfactor = 50
);

-- The sweep: only orders in flight are in it, so that it stays small for ever.
CREATE INDEX sagas_due ON sagas (sweep_at_us) WHERE sweep_at_us IS NOT NULL;

-- The list by status. Most orders are completed, and are found quickly among all.
CREATE INDEX sagas_by_status ON sagas (status, created_at_us DESC, order_id DESC) WHERE status <> 'COMPLETED';

-- Which request an Idempotency-Key belongs to. Claimed in the transaction of its order.
CREATE TABLE idempotency_keys (
    key           text   PRIMARY KEY,
    fingerprint   bytea  NOT NULL,
    order_id      uuid   NOT NULL,
    created_at_us bigint NOT NULL
);

CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at_us);
