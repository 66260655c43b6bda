CREATE TABLE orders (
    id BIGINT NOT NULL PRIMARY KEY,
    customer VARCHAR NOT NULL,
    amount DECIMAL(12, 2) NOT NULL
) WITH (
    'materialized' = 'true',
    'connectors' = '[{
        "name": "shop",
        "transport": {"name": "datagen", "config": {"plan": [{"rate": 20}]}}
    }]'
);

CREATE MATERIALIZED VIEW totals AS
SELECT customer, SUM(amount) AS total
FROM orders
GROUP BY customer;
