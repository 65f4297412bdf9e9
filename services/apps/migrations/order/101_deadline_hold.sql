-- Until when deadlines are held back, because answers may have gone unheard. One row, for all replicas.
CREATE TABLE deadline_hold (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    since_us bigint  NOT NULL,
    until_us bigint  NOT NULL
);

INSERT INTO deadline_hold (since_us, until_us) VALUES (0, 0);
