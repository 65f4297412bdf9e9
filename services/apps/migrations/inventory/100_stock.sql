-- The stock of each product. A unit is in exactly one of the three numbers; the checks are the last line of
-- defence behind the domain's arithmetic: a bug must fail here rather than sell what is not there.
CREATE TABLE stock (
    product_id    text   PRIMARY KEY,
    on_hand       bigint NOT NULL CHECK (on_hand >= 0),
    reserved      bigint NOT NULL CHECK (reserved >= 0),
    sold          bigint NOT NULL CHECK (sold >= 0),
    updated_at_us bigint NOT NULL
) WITH (
    -- A few rows, each updated by almost every transaction: leave most of a page free, so that new versions
    -- stay on it (HOT) and no index entry is written.
    fillfactor = 20,
    -- A share of a small table is nothing; vacuum by count, before scans have to step over many dead versions.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 1000
);
