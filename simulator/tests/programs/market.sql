-- An online market: catalogue, orders, auctions, a social graph. It uses what the grammar of
-- Feldera's SQL offers, so that the stand-in's parser is held against all of it.

/* Types and functions. */
CREATE TYPE address AS (
    street VARCHAR(80),
    city   VARCHAR NOT NULL,
    zip    CHAR(5)
);
CREATE TYPE contact AS (
    home   address,
    phones VARCHAR ARRAY,
    extra  MAP<VARCHAR, MAP<VARCHAR, INT NOT NULL>>
);
CREATE TYPE money AS DECIMAL(18, 4);

CREATE FUNCTION fee(amount DECIMAL(18, 4), percent INT) RETURNS DECIMAL(18, 4)
    AS amount * percent / 100;
CREATE FUNCTION sentiment(text VARCHAR) RETURNS DOUBLE NOT NULL;
CREATE LINEAR AGGREGATE weighted(v DECIMAL(10, 2)) RETURNS DECIMAL(10, 2);

-- Tables.
CREATE TABLE nation (
    nation_id INT NOT NULL PRIMARY KEY,
    name      VARCHAR NOT NULL,
    region    VARCHAR DEFAULT 'unknown'
) WITH (
    'connectors' = '[{
        "name": "generated",
        "transport": {"name": "datagen", "config": {"plan": [{"limit": 25}]}}
    }]'
);

CREATE TABLE customer (
    customer_id BIGINT NOT NULL PRIMARY KEY,
    nation_id   INT FOREIGN KEY REFERENCES nation(nation_id),
    name        VARCHAR(120),
    "Segment"   VARCHAR,
    balance     money,
    reach       contact,
    since       DATE,
    topic       VARCHAR DEFAULT CAST(CONNECTOR_METADATA()['kafka_topic'] AS VARCHAR)
) WITH (
    'materialized' = 'true',
    'connectors' = '[{
        "transport": {"name": "kafka_input", "config": {"topic": "customers", "bootstrap.servers": "kafka:9092"}},
        "format": {"name": "json", "config": {"update_format": "insert_delete"}}
    }, {
        "transport": {"name": "url_input", "config": {"path": "https://example.org/customers.json"}},
        "format": {"name": "json"}
    }]'
);

CREATE TABLE part (
    part_id  BIGINT NOT NULL,
    name     VARCHAR,
    brand    VARCHAR,
    size     TINYINT UNSIGNED,
    tags     VARCHAR NOT NULL ARRAY,
    picture  VARBINARY,
    code     BINARY(16),
    details  VARIANT,
    serial   UUID,
    box      ROW(width INT, height INT NOT NULL, label ROW(text VARCHAR, colour VARCHAR)),
    PRIMARY KEY (part_id)
);

CREATE TABLE orders (
    order_id    BIGINT NOT NULL,
    customer_id BIGINT NOT NULL,
    status      CHAR(1),
    placed_at   TIMESTAMP NOT NULL LATENESS INTERVAL 1 HOUR,
    priority    VARCHAR,
    comment     CHARACTER VARYING(200),
    PRIMARY KEY (order_id),
    FOREIGN KEY (customer_id) REFERENCES customer (customer_id)
) WITH ('append_only' = 'true');

CREATE TABLE line_item (
    order_id    BIGINT NOT NULL,
    part_id     BIGINT NOT NULL,
    quantity    DECIMAL(12, 2),
    price       DECIMAL(12, 2),
    discount    DOUBLE PRECISION,
    tax         REAL,
    ship_date   DATE,
    commit_date DATE,
    ship_mode   STRING
) WITH ('materialized' = 'true', 'expected_size' = '1000000');

CREATE TABLE bid (
    auction BIGINT,
    bidder  BIGINT,
    price   BIGINT,
    channel VARCHAR,
    url     VARCHAR,
    at      TIMESTAMP(3) NOT NULL LATENESS INTERVAL '4' SECONDS WATERMARK INTERVAL '2' SECONDS,
    opened  TIME
) WITH (
    'connectors' = '[{"name": "nexmark", "transport": {"name": "nexmark", "config": {"table": "bid", "options": {"events": 100}}}}]'
);

CREATE TABLE edge (source INT, target INT, weight INT) WITH ('materialized' = 'true');

-- Common table expressions, correlated subqueries, EXISTS, CASE, EXTRACT, LIKE.
CREATE LOCAL VIEW revenue (order_id, amount) AS
    SELECT order_id, SUM(price * (1 - discount))
    FROM line_item
    WHERE ship_date >= DATE '1995-01-01' AND ship_date < DATE '1995-01-01' + INTERVAL '3' MONTH
    GROUP BY order_id;

CREATE MATERIALIZED VIEW best_orders WITH (
    'connectors' = '[{
        "name": "lake",
        "transport": {"name": "delta_table_output", "config": {"uri": "s3://bucket/orders", "mode": "truncate"}},
        "enable_output_buffer": true,
        "max_output_buffer_time_millis": 10000
    }]'
) AS
    WITH total AS (SELECT MAX(amount) AS largest FROM revenue),
         ranked (order_id, amount, place) AS (
             SELECT order_id, amount, DENSE_RANK() OVER (ORDER BY amount DESC NULLS LAST)
             FROM revenue
         )
    SELECT o.order_id, o.status, r.amount, r.place
    FROM orders AS o
         JOIN ranked r ON r.order_id = o.order_id
         CROSS JOIN total t
    WHERE r.amount > 0.9 * t.largest
      AND EXISTS (SELECT 1 FROM line_item l WHERE l.order_id = o.order_id AND l.commit_date < l.ship_date)
      AND o.comment NOT LIKE '%special%requests%'
    ORDER BY r.amount DESC
    LIMIT 100;

CREATE VIEW market_share AS
SELECT year_, SUM(CASE WHEN nation = 'BRAZIL' THEN volume ELSE 0 END) / SUM(volume) AS share
FROM (
    SELECT EXTRACT(YEAR FROM o.placed_at) AS year_,
           l.price * (1 - l.discount)     AS volume,
           n.name                         AS nation
    FROM part p, line_item l, orders o, customer c, nation n
    WHERE p.part_id = l.part_id AND l.order_id = o.order_id AND o.customer_id = c.customer_id
      AND c.nation_id = n.nation_id AND p.brand IN ('Brand#12', 'Brand#23')
      AND o.placed_at BETWEEN TIMESTAMP '1995-01-01 00:00:00' AND TIMESTAMP '1996-12-31 00:00:00'
) AS all_nations
GROUP BY year_
HAVING COUNT(DISTINCT nation) > 1;

CREATE VIEW late_customers AS
SELECT SUBSTRING(c.name FROM 1 FOR 3) AS prefix,
       COUNT(*) FILTER (WHERE c.balance < 0) AS in_debt,
       AVG(c.balance) AS average,
       fee(SUM(c.balance), 2) AS fees,
       weighted(CAST(c.balance AS DECIMAL(10, 2))) AS weight
FROM customer c
WHERE c.balance > (SELECT AVG(b.balance) FROM customer b WHERE b.nation_id = c.nation_id)
  AND NOT EXISTS (SELECT * FROM orders o WHERE o.customer_id = c.customer_id)
  AND c.since IS NOT NULL
GROUP BY ROLLUP (SUBSTRING(c.name FROM 1 FOR 3));

CREATE VIEW top_parts AS
SELECT * FROM (
    SELECT p.*, ROW_NUMBER() OVER (PARTITION BY p.brand ORDER BY l.sold DESC) AS place,
           LAG(l.sold, 1) OVER (PARTITION BY p.brand ORDER BY p.part_id) AS before
    FROM part p LEFT JOIN (
        SELECT part_id, SUM(quantity) AS sold FROM line_item GROUP BY part_id
    ) l ON l.part_id = p.part_id
) WHERE place <= 3;

CREATE VIEW rolling AS
SELECT auction, at,
       SUM(price) OVER (PARTITION BY auction ORDER BY at
                        RANGE BETWEEN INTERVAL '1' DAY PRECEDING AND CURRENT ROW) AS day_total,
       COUNT(*) OVER lately AS hits
FROM bid
WINDOW lately AS (PARTITION BY bidder ORDER BY at RANGE BETWEEN INTERVAL 10 MINUTES PRECEDING AND CURRENT ROW);

-- Table functions of streaming.
CREATE VIEW per_window AS
SELECT window_start, window_end, auction, COUNT(*) AS bids
FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(at), INTERVAL '10' SECOND))
GROUP BY window_start, window_end, auction;

CREATE VIEW hot_items AS
SELECT h.auction, h.window_start, COUNT(*) AS bids
FROM TABLE(HOP(TABLE bid, DESCRIPTOR(at), INTERVAL '2' SECOND, INTERVAL '10' SECOND)) AS h
GROUP BY h.auction, h.window_start;

CREATE VIEW bid_at_order AS
SELECT o.order_id, b.price
FROM orders o LEFT ASOF JOIN bid b
MATCH_CONDITION (o.placed_at >= b.at)
ON o.customer_id = b.bidder;

-- Arrays, maps, rows, variants.
CREATE VIEW unnested AS
SELECT p.part_id, tag, nr, p.tags[1] AS first_tag, p.box.label.text AS label,
       CAST(p.details['a']['b'] AS INT ARRAY) AS numbers, p.details:c:d AS other,
       MAP['x', 1, 'y', 2]['x'] AS one, ARRAY[1, 2, 3] AS three, ROW(1, 'a') AS pair,
       TRANSFORM(p.tags, t -> UPPER(t)) AS loud
FROM part p, UNNEST(p.tags) WITH ORDINALITY AS t (tag, nr);

CREATE VIEW contacts AS
SELECT c.customer_id, c.reach.home.city, c.reach.extra['a']['b'] AS depth,
       sentiment(c.name) AS mood, c."Segment", c.name || ', ' || COALESCE(c."Segment", '?') AS shown,
       SAFE_CAST(c.name AS BIGINT) AS number_, c.balance::DECIMAL(10, 1) AS rounded
FROM customer c
WHERE c.name IS DISTINCT FROM 'x' AND c.name RLIKE '^[A-M]' AND c.since > NOW() - INTERVAL 30 DAYS;

CREATE VIEW durations AS
SELECT order_id, TIMESTAMPDIFF(DAY, placed_at, NOW()) AS age,
       (placed_at - TIMESTAMP '2020-01-01 00:00:00') DAY AS since_2020,
       FLOOR(placed_at TO HOUR) AS hour_, DATE_TRUNC(placed_at, MONTH) AS month_,
       placed_at - INTERVAL '1-6' YEAR TO MONTH AS earlier,
       TRIM(BOTH ' ' FROM comment) AS trimmed, POSITION('a' IN comment) AS a
FROM orders;

CREATE VIEW everyone AS
SELECT name FROM customer UNION ALL SELECT name FROM nation
EXCEPT SELECT name FROM part
UNION (VALUES ('nobody'), ('somebody'));

CREATE VIEW cubed AS
SELECT ship_mode, commit_date, GROUPING(ship_mode) AS g, ARRAY_AGG(part_id ORDER BY part_id) AS parts
FROM line_item GROUP BY GROUPING SETS ((ship_mode, commit_date), (ship_mode), ())
QUALIFY ROW_NUMBER() OVER (PARTITION BY ship_mode ORDER BY commit_date) = 1;

-- Recursion.
DECLARE RECURSIVE VIEW closure (source INT, target INT);
CREATE VIEW smaller_step AS SELECT source, target FROM edge WHERE weight < 10;
CREATE MATERIALIZED VIEW closure AS
SELECT source, target FROM smaller_step
UNION
SELECT c.source, s.target FROM closure c JOIN smaller_step s ON c.target = s.source;

CREATE INDEX closure_by_source ON closure (source);
LATENESS rolling.at INTERVAL 1 DAY;

CREATE VIEW closure_sizes WITH (
    'connectors' = '[
        {"transport": {"name": "null_output"}},
        {"name": "file", "index": "closure_by_source", "transport": {"name": "file_output", "config": {"path": "/dev/null"}}, "format": {"name": "csv"}}
    ]'
) AS SELECT source, COUNT(*) AS reachable FROM closure GROUP BY source;
