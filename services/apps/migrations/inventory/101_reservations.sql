-- What is on record about each order: one row for every order that was ever seen, refused and cancelled ones
-- included, because what is on record is what makes requests idempotent.
CREATE TABLE reservations (
    order_id       uuid   PRIMARY KEY,
    status         text   NOT NULL CHECK (status IN
        ('HELD', 'REFUSED', 'SOLD', 'RELEASED', 'EXPIRED', 'CANCELLED', 'OVERSOLD')),
    expires_at_us  bigint NOT NULL,
    -- The units that are, or were, held: [{"product_id": …, "quantity": …}], read and written as a whole. Rows of
    -- their own would be two more per order, and nobody asks for them by product.
    items          json   NOT NULL,
    -- Of the order, for what the sweep tells when no event is at hand.
    correlation_id text   NOT NULL,
    updated_at_us  bigint NOT NULL
) WITH (
    -- Each row is updated once or twice in its life (sold, released): keep room for that on its page.
    fillfactor = 70
);

-- For the sweep of expired reservations: only those that hold something, and those are few.
CREATE INDEX reservations_held ON reservations (expires_at_us) WHERE status = 'HELD';
