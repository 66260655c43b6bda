-- Nexmark for a stream without end: LATENESS tells the engine how late an event may come, so that it
-- can forget what is older. It keeps little state that way.
--
-- The price: as long as a table has LATENESS, the engine refuses to bootstrap a changed program, under
-- any policy and before anybody is asked, because the forgotten rows can't be replayed. A change of
-- this program needs the pipeline's storage cleared first, and starts from nothing.

CREATE TABLE auction (
    id BIGINT NOT NULL,
    item_name VARCHAR NOT NULL,
    initial_bid BIGINT NOT NULL,
    date_time TIMESTAMP NOT NULL LATENESS INTERVAL 4 SECONDS,
    expires TIMESTAMP NOT NULL,
    seller BIGINT NOT NULL,
    category BIGINT NOT NULL
) WITH (
    'append_only' = 'true',
    'connectors' = '[{
        "name": "stream",
        "transport": {
            "name": "kafka_input",
            "config": {
                "topic": "nexmark.auction",
                "start_from": "earliest",
                "bootstrap.servers": "kafka.example.com:9093",
                "security.protocol": "SASL_SSL",
                "sasl.mechanism": "PLAIN",
                "sasl.username": "nexmark",
                "sasl.password": "${secret:kubernetes:nexmark-kafka/password}"
            }
        },
        "format": {"name": "json", "config": {"update_format": "raw"}}
    }]'
);

CREATE TABLE bid (
    auction BIGINT NOT NULL,
    bidder BIGINT NOT NULL,
    price BIGINT NOT NULL,
    channel VARCHAR NOT NULL,
    date_time TIMESTAMP NOT NULL LATENESS INTERVAL 4 SECONDS
) WITH (
    'append_only' = 'true',
    'connectors' = '[{
        "name": "stream",
        "transport": {
            "name": "kafka_input",
            "config": {
                "topic": "nexmark.bid",
                "start_from": "earliest",
                "bootstrap.servers": "kafka.example.com:9093",
                "security.protocol": "SASL_SSL",
                "sasl.mechanism": "PLAIN",
                "sasl.username": "nexmark",
                "sasl.password": "${secret:kubernetes:nexmark-kafka/password}"
            }
        },
        "format": {"name": "json", "config": {"update_format": "raw"}}
    }]'
);

-- Q7, the highest price of every ten seconds, sent once, when it can't change any more.
CREATE MATERIALIZED VIEW highest_price WITH (
    'emit_final' = 'window_start',
    'connectors' = '[{
        "name": "stream",
        "transport": {
            "name": "kafka_output",
            "config": {
                "topic": "nexmark.highest-price",
                "bootstrap.servers": "kafka.example.com:9093",
                "security.protocol": "SASL_SSL",
                "sasl.mechanism": "PLAIN",
                "sasl.username": "nexmark",
                "sasl.password": "${secret:kubernetes:nexmark-kafka/password}"
            }
        },
        "format": {"name": "json", "config": {"update_format": "insert_delete"}}
    }]'
) AS
SELECT window_start, MAX(price) AS top_price, COUNT(*) AS bids
FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(date_time), INTERVAL '10' SECOND))
GROUP BY window_start;

-- Q12, how often each bidder bids in ten seconds.
CREATE MATERIALIZED VIEW bids_per_bidder AS
SELECT bidder, window_start, COUNT(*) AS bids
FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(date_time), INTERVAL '10' SECOND))
GROUP BY bidder, window_start;

-- Q20, bids with their auction, while both are young.
CREATE VIEW bid_with_auction AS
SELECT b.auction, b.bidder, b.price, a.item_name, a.category, b.date_time
FROM bid b
JOIN auction a
    ON b.auction = a.id
    AND b.date_time BETWEEN a.date_time AND a.date_time + INTERVAL '10' MINUTE;
