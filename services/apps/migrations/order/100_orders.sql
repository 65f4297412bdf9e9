-- Times are microseconds since 1970 (UTC), so that they pass through without rounding or time zones.
-- Money is minor units of its currency.

CREATE TABLE orders (
    order_id                uuid PRIMARY KEY,
    customer_id             text   NOT NULL,
    correlation_id          text   NOT NULL,
    -- What was asked for, so that the same request under the same id can be told from another one.
    fingerprint             bytea  NOT NULL,
    -- Who, what, where to and for how much, as the events carry it. Read as a whole, never searched.
    details                 json   NOT NULL,
    -- The saga. It carries its own steps and limits: an order ends by the rules under which it began.
    status                  text   NOT NULL CHECK (status IN ('PENDING', 'CONFIRMED', 'COMPLETED', 'CANCELLED')),
    cancel_reason           text,
    cancel_detail           text,
    steps                   jsonb  NOT NULL,
    step_timeout_ms         bigint NOT NULL,
    closing_timeout_ms      bigint NOT NULL,
    deadline_us             bigint,
    version                 bigint NOT NULL,
    created_at_us           bigint NOT NULL,
    updated_at_us           bigint NOT NULL,
    -- An order that has ended waits for nothing, and one that has not is never without a deadline.
    CHECK ((deadline_us IS NULL) = (status IN ('COMPLETED', 'CANCELLED'))),
    CHECK ((cancel_reason IS NOT NULL) = (status = 'CANCELLED'))
);

-- The pages of the list, newest first: all orders, by customer, by status.
CREATE INDEX orders_newest ON orders (created_at_us DESC, order_id DESC);
CREATE INDEX orders_by_customer ON orders (customer_id, created_at_us DESC, order_id DESC);
CREATE INDEX orders_by_status ON orders (status, created_at_us DESC, order_id DESC);

-- The sweep: only orders in flight are in it, so that it stays small for ever.
CREATE INDEX orders_due ON orders (deadline_us) WHERE deadline_us IS NOT NULL;

-- Which request an Idempotency-Key belongs to. Claimed in the transaction of its order.
CREATE TABLE idempotency_keys (
    key           text   PRIMARY KEY,
    fingerprint   bytea  NOT NULL,
    order_id      uuid   NOT NULL,
    created_at_us bigint NOT NULL
);

CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at_us);
