-- Orders that wait for stock, where they may.

-- Units that orders wait for: so many of the free ones are not for others.
ALTER TABLE stock ADD COLUMN backordered bigint NOT NULL DEFAULT 0 CHECK (backordered >= 0);

ALTER TABLE reservations
    DROP CONSTRAINT reservations_status_check,
    ADD CONSTRAINT reservations_status_check CHECK (status IN
        ('HELD', 'BACKORDERED', 'REFUSED', 'SOLD', 'RELEASED', 'EXPIRED', 'CANCELLED', 'OVERSOLD'));

-- For the sweep: what is held, or waits.
DROP INDEX reservations_held;
CREATE INDEX reservations_open ON reservations (expires_at_us) WHERE status IN ('HELD', 'BACKORDERED');

-- The places in line: one row per product that an order waits for, as long as it waits.
CREATE TABLE backorders (
    order_id   uuid    NOT NULL,
    product_id text    NOT NULL,
    quantity   bigint  NOT NULL CHECK (quantity > 0),
    -- In how many lines the order stands.
    lines      integer NOT NULL CHECK (lines > 0),
    -- The same in all of its lines. Drawn while the stock of the products is locked, so that in each line it says
    -- who came first.
    place      bigint  NOT NULL,
    -- The event that asked for the stock, encoded: what is told when it is there has to carry the order's details.
    cause      bytea   NOT NULL,
    PRIMARY KEY (order_id, product_id)
);

CREATE INDEX backorders_in_line ON backorders (product_id, place);
CREATE SEQUENCE backorder_places;
