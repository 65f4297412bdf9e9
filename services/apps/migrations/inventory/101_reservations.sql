-- What is on record about each order: one row for every order that was ever seen, refused and cancelled ones
-- included, because what is on record is what makes requests idempotent.
CREATE TABLE reservations (
    order_id       uuid   PRIMARY KEY,
    status         text   NOT NULL CHECK (status IN
        ('HELD', 'REFUSED', 'SOLD', 'RELEASED', 'EXPIRED', 'CANCELLED', 'OVERSOLD')),
    expires_at_us  bigint NOT NULL,
    -- Of the order, for what the sweep tells when no event is at hand.
    correlation_id text   NOT NULL,
    updated_at_us  bigint NOT NULL
) WITH (
    -- Each row is updated once or twice in its life (sold, released): keep room for that on its page.
    fillfactor = 70
);

-- For the sweep of expired reservations: only those that hold something, and those are few.
CREATE INDEX reservations_held ON reservations (expires_at_us) WHERE status = 'HELD';

-- The units that are, or were, held for an order. Never updated.
CREATE TABLE reservation_items (
    order_id   uuid    NOT NULL REFERENCES reservations ON DELETE CASCADE,
    product_id text    NOT NULL,
    quantity   bigint  NOT NULL CHECK (quantity > 0 AND quantity <= 4294967295),
    PRIMARY KEY (order_id, product_id)
);
