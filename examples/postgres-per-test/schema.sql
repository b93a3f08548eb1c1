-- A shop of 100 MB.
CREATE TABLE customer(id integer PRIMARY KEY, token uuid NOT NULL DEFAULT gen_random_uuid(), name text NOT NULL);
CREATE TABLE purchase(
    id integer PRIMARY KEY, customer integer NOT NULL REFERENCES customer, made_at timestamptz NOT NULL, amount numeric NOT NULL,
    note text NOT NULL);
INSERT INTO customer(id, name) SELECT i, 'customer ' || i FROM generate_series(1, 10000) AS i;
INSERT INTO purchase
    SELECT i, 1 + i % 10000, now() - i * interval '1 second', i % 1000, repeat('n', 300) FROM generate_series(1, 250000) AS i;
CREATE INDEX ON purchase(customer);
ANALYZE;
