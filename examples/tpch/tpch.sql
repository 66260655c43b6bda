-- TPC-H's eight tables. The two small ones never change and are written down here; the others come
-- from a lake, whose keys the engine itself reads from a Kubernetes Secret, so that they stand in no
-- Pipeline. Every table is materialized: without that the engine can't replay it when views change.
-- Strings are VARCHAR, where TPC-H has CHAR(n): the engine would pad and trim those at every step.

CREATE TABLE region (
    r_regionkey INTEGER NOT NULL PRIMARY KEY,
    r_name VARCHAR NOT NULL,
    r_comment VARCHAR
) WITH (
    'materialized' = 'true',
    'connectors' = '[{
        "name": "fixed",
        "transport": {"name": "datagen", "config": {"plan": [{
            "limit": 5,
            "fields": {
                "r_regionkey": {"values": [
                    0, 1, 2, 3, 4
                ]},
                "r_name": {"values": [
                    "AFRICA", "AMERICA", "ASIA", "EUROPE", "MIDDLE EAST"
                ]}
            }
        }]}}
    }]'
);

CREATE TABLE nation (
    n_nationkey INTEGER NOT NULL PRIMARY KEY,
    n_name VARCHAR NOT NULL,
    n_regionkey INTEGER NOT NULL,
    n_comment VARCHAR
) WITH (
    'materialized' = 'true',
    'connectors' = '[{
        "name": "fixed",
        "transport": {"name": "datagen", "config": {"plan": [{
            "limit": 25,
            "fields": {
                "n_nationkey": {"values": [
                    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19,
                    20, 21, 22, 23, 24
                ]},
                "n_name": {"values": [
                    "ALGERIA", "ARGENTINA", "BRAZIL", "CANADA", "EGYPT", "ETHIOPIA",
                    "FRANCE", "GERMANY", "INDIA", "INDONESIA", "IRAN", "IRAQ", "JAPAN",
                    "JORDAN", "KENYA", "MOROCCO", "MOZAMBIQUE", "PERU", "CHINA", "ROMANIA",
                    "SAUDI ARABIA", "VIETNAM", "RUSSIA", "UNITED KINGDOM", "UNITED STATES"
                ]},
                "n_regionkey": {"values": [
                    0, 1, 1, 1, 4, 0, 3, 3, 2, 2, 4, 4, 2, 4, 0, 0, 0, 1, 2, 3, 4, 2, 3, 3,
                    1
                ]}
            }
        }]}}
    }]'
);

CREATE TABLE supplier (
    s_suppkey INTEGER NOT NULL PRIMARY KEY,
    s_name VARCHAR NOT NULL,
    s_address VARCHAR NOT NULL,
    s_nationkey INTEGER NOT NULL,
    s_phone VARCHAR NOT NULL,
    s_acctbal DECIMAL(15, 2) NOT NULL,
    s_comment VARCHAR NOT NULL
) WITH (
    'materialized' = 'true',
    'connectors' = '[{
        "name": "lake",
        "transport": {
            "name": "delta_table_input",
            "config": {
                "uri": "s3://example-tpch/sf10/supplier",
                "mode": "snapshot_and_follow",
                "transaction_mode": "snapshot",
                "aws_region": "eu-central-1",
                "aws_access_key_id": "${secret:kubernetes:tpch-lake/access-key-id}",
                "aws_secret_access_key": "${secret:kubernetes:tpch-lake/secret-access-key}"
            }
        }
    }]'
);

CREATE TABLE customer (
    c_custkey INTEGER NOT NULL PRIMARY KEY,
    c_name VARCHAR NOT NULL,
    c_address VARCHAR NOT NULL,
    c_nationkey INTEGER NOT NULL,
    c_phone VARCHAR NOT NULL,
    c_acctbal DECIMAL(15, 2) NOT NULL,
    c_mktsegment VARCHAR NOT NULL,
    c_comment VARCHAR NOT NULL
) WITH (
    'materialized' = 'true',
    'connectors' = '[{
        "name": "lake",
        "transport": {
            "name": "delta_table_input",
            "config": {
                "uri": "s3://example-tpch/sf10/customer",
                "mode": "snapshot_and_follow",
                "transaction_mode": "snapshot",
                "aws_region": "eu-central-1",
                "aws_access_key_id": "${secret:kubernetes:tpch-lake/access-key-id}",
                "aws_secret_access_key": "${secret:kubernetes:tpch-lake/secret-access-key}"
            }
        }
    }]'
);

CREATE TABLE part (
    p_partkey INTEGER NOT NULL PRIMARY KEY,
    p_name VARCHAR NOT NULL,
    p_mfgr VARCHAR NOT NULL,
    p_brand VARCHAR NOT NULL,
    p_type VARCHAR NOT NULL,
    p_size INTEGER NOT NULL,
    p_container VARCHAR NOT NULL,
    p_retailprice DECIMAL(15, 2) NOT NULL,
    p_comment VARCHAR NOT NULL
) WITH (
    'materialized' = 'true',
    'connectors' = '[{
        "name": "lake",
        "transport": {
            "name": "delta_table_input",
            "config": {
                "uri": "s3://example-tpch/sf10/part",
                "mode": "snapshot_and_follow",
                "transaction_mode": "snapshot",
                "aws_region": "eu-central-1",
                "aws_access_key_id": "${secret:kubernetes:tpch-lake/access-key-id}",
                "aws_secret_access_key": "${secret:kubernetes:tpch-lake/secret-access-key}"
            }
        }
    }]'
);

CREATE TABLE partsupp (
    ps_partkey INTEGER NOT NULL,
    ps_suppkey INTEGER NOT NULL,
    ps_availqty INTEGER NOT NULL,
    ps_supplycost DECIMAL(15, 2) NOT NULL,
    ps_comment VARCHAR NOT NULL,
    PRIMARY KEY (ps_partkey, ps_suppkey)
) WITH (
    'materialized' = 'true',
    'connectors' = '[{
        "name": "lake",
        "transport": {
            "name": "delta_table_input",
            "config": {
                "uri": "s3://example-tpch/sf10/partsupp",
                "mode": "snapshot_and_follow",
                "transaction_mode": "snapshot",
                "aws_region": "eu-central-1",
                "aws_access_key_id": "${secret:kubernetes:tpch-lake/access-key-id}",
                "aws_secret_access_key": "${secret:kubernetes:tpch-lake/secret-access-key}"
            }
        }
    }]'
);

CREATE TABLE orders (
    o_orderkey BIGINT NOT NULL PRIMARY KEY,
    o_custkey INTEGER NOT NULL,
    o_orderstatus VARCHAR NOT NULL,
    o_totalprice DECIMAL(15, 2) NOT NULL,
    o_orderdate DATE NOT NULL,
    o_orderpriority VARCHAR NOT NULL,
    o_clerk VARCHAR NOT NULL,
    o_shippriority INTEGER NOT NULL,
    o_comment VARCHAR NOT NULL
) WITH (
    'materialized' = 'true',
    'connectors' = '[{
        "name": "lake",
        "transport": {
            "name": "delta_table_input",
            "config": {
                "uri": "s3://example-tpch/sf10/orders",
                "mode": "snapshot_and_follow",
                "transaction_mode": "snapshot",
                "aws_region": "eu-central-1",
                "aws_access_key_id": "${secret:kubernetes:tpch-lake/access-key-id}",
                "aws_secret_access_key": "${secret:kubernetes:tpch-lake/secret-access-key}"
            }
        }
    }]'
);

CREATE TABLE lineitem (
    l_orderkey BIGINT NOT NULL,
    l_partkey INTEGER NOT NULL,
    l_suppkey INTEGER NOT NULL,
    l_linenumber INTEGER NOT NULL,
    l_quantity DECIMAL(15, 2) NOT NULL,
    l_extendedprice DECIMAL(15, 2) NOT NULL,
    l_discount DECIMAL(15, 2) NOT NULL,
    l_tax DECIMAL(15, 2) NOT NULL,
    l_returnflag VARCHAR NOT NULL,
    l_linestatus VARCHAR NOT NULL,
    l_shipdate DATE NOT NULL,
    l_commitdate DATE NOT NULL,
    l_receiptdate DATE NOT NULL,
    l_shipinstruct VARCHAR NOT NULL,
    l_shipmode VARCHAR NOT NULL,
    l_comment VARCHAR NOT NULL,
    PRIMARY KEY (l_orderkey, l_linenumber)
) WITH (
    'materialized' = 'true',
    'connectors' = '[{
        "name": "lake",
        "transport": {
            "name": "delta_table_input",
            "config": {
                "uri": "s3://example-tpch/sf10/lineitem",
                "mode": "snapshot_and_follow",
                "transaction_mode": "snapshot",
                "aws_region": "eu-central-1",
                "aws_access_key_id": "${secret:kubernetes:tpch-lake/access-key-id}",
                "aws_secret_access_key": "${secret:kubernetes:tpch-lake/secret-access-key}"
            }
        }
    }]'
);

-- Its 22 queries, kept up to date as the tables change. Their order by is left out where there is no
-- limit: a view has no order.

-- Q1, pricing summary report: what was billed, shipped and returned.
CREATE MATERIALIZED VIEW pricing_summary WITH (
    'connectors' = '[{
        "name": "dashboard",
        "index": "pricing_summary_key",
        "transport": {
            "name": "postgres_output",
            "config": {
                "uri": "${secret:kubernetes:tpch-dashboard/uri}",
                "table": "pricing_summary"
            }
        }
    }]'
) AS
SELECT
    l_returnflag,
    l_linestatus,
    SUM(l_quantity) AS sum_qty,
    SUM(l_extendedprice) AS sum_base_price,
    SUM(l_extendedprice * (1 - l_discount)) AS sum_disc_price,
    SUM(l_extendedprice * (1 - l_discount) * (1 + l_tax)) AS sum_charge,
    AVG(l_quantity) AS avg_qty,
    AVG(l_extendedprice) AS avg_price,
    AVG(l_discount) AS avg_disc,
    COUNT(*) AS count_order
FROM lineitem
WHERE l_shipdate <= DATE '1998-12-01' - INTERVAL '90' DAY
GROUP BY l_returnflag, l_linestatus;

CREATE INDEX pricing_summary_key ON pricing_summary(l_returnflag, l_linestatus);

-- Q2, minimum cost supplier: who to buy a part from in a region.
CREATE MATERIALIZED VIEW minimum_cost_supplier AS
SELECT
    s_acctbal,
    s_name,
    n_name,
    p_partkey,
    p_mfgr,
    s_address,
    s_phone,
    s_comment
FROM part, supplier, partsupp, nation, region
WHERE p_partkey = ps_partkey
    AND s_suppkey = ps_suppkey
    AND p_size = 15
    AND p_type LIKE '%BRASS'
    AND s_nationkey = n_nationkey
    AND n_regionkey = r_regionkey
    AND r_name = 'EUROPE'
    AND ps_supplycost = (
        SELECT MIN(ps_supplycost)
        FROM partsupp, supplier, nation, region
        WHERE p_partkey = ps_partkey
            AND s_suppkey = ps_suppkey
            AND s_nationkey = n_nationkey
            AND n_regionkey = r_regionkey
            AND r_name = 'EUROPE'
    )
ORDER BY s_acctbal DESC, n_name, s_name, p_partkey
LIMIT 100;

-- Q3, shipping priority: the open orders that are worth most.
CREATE MATERIALIZED VIEW shipping_priority WITH (
    'connectors' = '[{
        "name": "stream",
        "transport": {
            "name": "kafka_output",
            "config": {
                "topic": "tpch.shipping-priority",
                "bootstrap.servers": "kafka.example.com:9093",
                "security.protocol": "SASL_SSL",
                "sasl.mechanism": "SCRAM-SHA-512",
                "sasl.username": "tpch",
                "sasl.password": "${secret:kubernetes:tpch-kafka/password}"
            }
        },
        "format": {"name": "json", "config": {"update_format": "insert_delete", "array": false}},
        "enable_output_buffer": true,
        "max_output_buffer_time_millis": 5000
    }]'
) AS
SELECT
    l_orderkey,
    SUM(l_extendedprice * (1 - l_discount)) AS revenue,
    o_orderdate,
    o_shippriority
FROM customer, orders, lineitem
WHERE c_mktsegment = 'BUILDING'
    AND c_custkey = o_custkey
    AND l_orderkey = o_orderkey
    AND o_orderdate < DATE '1995-03-15'
    AND l_shipdate > DATE '1995-03-15'
GROUP BY l_orderkey, o_orderdate, o_shippriority
ORDER BY revenue DESC, o_orderdate
LIMIT 10;

-- Q4, order priority checking: how many orders of a quarter came late.
CREATE MATERIALIZED VIEW order_priority_checking AS
SELECT o_orderpriority, COUNT(*) AS order_count
FROM orders
WHERE o_orderdate >= DATE '1993-07-01'
    AND o_orderdate < DATE '1993-07-01' + INTERVAL '3' MONTH
    AND EXISTS (
        SELECT *
        FROM lineitem
        WHERE l_orderkey = o_orderkey
            AND l_commitdate < l_receiptdate
    )
GROUP BY o_orderpriority;

-- Q5, local supplier volume: revenue where customer and supplier are of one nation.
CREATE MATERIALIZED VIEW local_supplier_volume AS
SELECT n_name, SUM(l_extendedprice * (1 - l_discount)) AS revenue
FROM customer, orders, lineitem, supplier, nation, region
WHERE c_custkey = o_custkey
    AND l_orderkey = o_orderkey
    AND l_suppkey = s_suppkey
    AND c_nationkey = s_nationkey
    AND s_nationkey = n_nationkey
    AND n_regionkey = r_regionkey
    AND r_name = 'ASIA'
    AND o_orderdate >= DATE '1994-01-01'
    AND o_orderdate < DATE '1994-01-01' + INTERVAL '1' YEAR
GROUP BY n_name;

-- Q6, forecasting revenue change: what small discounts cost.
CREATE MATERIALIZED VIEW revenue_change WITH (
    'connectors' = '[{
        "name": "stream",
        "transport": {
            "name": "kafka_output",
            "config": {
                "topic": "tpch.revenue-change",
                "bootstrap.servers": "kafka.example.com:9093",
                "security.protocol": "SASL_SSL",
                "sasl.mechanism": "SCRAM-SHA-512",
                "sasl.username": "tpch",
                "sasl.password": "${secret:kubernetes:tpch-kafka/password}"
            }
        },
        "format": {"name": "json", "config": {"update_format": "insert_delete", "array": false}},
        "enable_output_buffer": true,
        "max_output_buffer_time_millis": 5000
    }]'
) AS
SELECT SUM(l_extendedprice * l_discount) AS revenue
FROM lineitem
WHERE l_shipdate >= DATE '1994-01-01'
    AND l_shipdate < DATE '1994-01-01' + INTERVAL '1' YEAR
    AND l_discount BETWEEN 0.05 AND 0.07
    AND l_quantity < 24;

-- Q7, volume shipping: trade between two nations.
CREATE MATERIALIZED VIEW volume_shipping AS
SELECT supp_nation, cust_nation, l_year, SUM(volume) AS revenue
FROM (
    SELECT
        n1.n_name AS supp_nation,
        n2.n_name AS cust_nation,
        EXTRACT(YEAR FROM l_shipdate) AS l_year,
        l_extendedprice * (1 - l_discount) AS volume
    FROM supplier, lineitem, orders, customer, nation n1, nation n2
    WHERE s_suppkey = l_suppkey
        AND o_orderkey = l_orderkey
        AND c_custkey = o_custkey
        AND s_nationkey = n1.n_nationkey
        AND c_nationkey = n2.n_nationkey
        AND (
            (n1.n_name = 'FRANCE' AND n2.n_name = 'GERMANY')
            OR (n1.n_name = 'GERMANY' AND n2.n_name = 'FRANCE')
        )
        AND l_shipdate BETWEEN DATE '1995-01-01' AND DATE '1996-12-31'
) AS shipping
GROUP BY supp_nation, cust_nation, l_year;

-- Q8, national market share, by year.
CREATE MATERIALIZED VIEW market_share AS
SELECT
    o_year,
    SUM(CASE WHEN nation = 'BRAZIL' THEN volume ELSE 0 END) / SUM(volume) AS mkt_share
FROM (
    SELECT
        EXTRACT(YEAR FROM o_orderdate) AS o_year,
        l_extendedprice * (1 - l_discount) AS volume,
        n2.n_name AS nation
    FROM part, supplier, lineitem, orders, customer, nation n1, nation n2, region
    WHERE p_partkey = l_partkey
        AND s_suppkey = l_suppkey
        AND l_orderkey = o_orderkey
        AND o_custkey = c_custkey
        AND c_nationkey = n1.n_nationkey
        AND n1.n_regionkey = r_regionkey
        AND r_name = 'AMERICA'
        AND s_nationkey = n2.n_nationkey
        AND o_orderdate BETWEEN DATE '1995-01-01' AND DATE '1996-12-31'
        AND p_type = 'ECONOMY ANODIZED STEEL'
) AS all_nations
GROUP BY o_year;

-- Q9, product type profit, by nation and year.
CREATE MATERIALIZED VIEW product_type_profit WITH (
    'connectors' = '[{
        "name": "lake",
        "transport": {
            "name": "delta_table_output",
            "config": {
                "uri": "s3://example-tpch/results/product_type_profit",
                "mode": "truncate",
                "aws_region": "eu-central-1",
                "aws_access_key_id": "${secret:kubernetes:tpch-lake/access-key-id}",
                "aws_secret_access_key": "${secret:kubernetes:tpch-lake/secret-access-key}"
            }
        },
        "enable_output_buffer": true,
        "max_output_buffer_time_millis": 10000
    }]'
) AS
SELECT nation, o_year, SUM(amount) AS sum_profit
FROM (
    SELECT
        n_name AS nation,
        EXTRACT(YEAR FROM o_orderdate) AS o_year,
        l_extendedprice * (1 - l_discount) - ps_supplycost * l_quantity AS amount
    FROM part, supplier, lineitem, partsupp, orders, nation
    WHERE s_suppkey = l_suppkey
        AND ps_suppkey = l_suppkey
        AND ps_partkey = l_partkey
        AND p_partkey = l_partkey
        AND o_orderkey = l_orderkey
        AND s_nationkey = n_nationkey
        AND p_name LIKE '%green%'
) AS profit
GROUP BY nation, o_year;

-- Q10, returned items: the customers who sent back most.
CREATE MATERIALIZED VIEW returned_items AS
SELECT
    c_custkey,
    c_name,
    SUM(l_extendedprice * (1 - l_discount)) AS revenue,
    c_acctbal,
    n_name,
    c_address,
    c_phone,
    c_comment
FROM customer, orders, lineitem, nation
WHERE c_custkey = o_custkey
    AND l_orderkey = o_orderkey
    AND o_orderdate >= DATE '1993-10-01'
    AND o_orderdate < DATE '1993-10-01' + INTERVAL '3' MONTH
    AND l_returnflag = 'R'
    AND c_nationkey = n_nationkey
GROUP BY c_custkey, c_name, c_acctbal, c_phone, n_name, c_address, c_comment
ORDER BY revenue DESC
LIMIT 20;

-- Q11, important stock: the parts that make up most of the stock in a nation.
CREATE MATERIALIZED VIEW important_stock AS
SELECT ps_partkey, SUM(ps_supplycost * ps_availqty) AS stock_value
FROM partsupp, supplier, nation
WHERE ps_suppkey = s_suppkey
    AND s_nationkey = n_nationkey
    AND n_name = 'GERMANY'
GROUP BY ps_partkey
HAVING SUM(ps_supplycost * ps_availqty) > (
    SELECT SUM(ps_supplycost * ps_availqty) * 0.0001
    FROM partsupp, supplier, nation
    WHERE ps_suppkey = s_suppkey
        AND s_nationkey = n_nationkey
        AND n_name = 'GERMANY'
);

-- Q12, shipping modes and order priority: do cheap modes delay urgent orders?
CREATE MATERIALIZED VIEW shipping_modes AS
SELECT
    l_shipmode,
    SUM(CASE WHEN o_orderpriority IN ('1-URGENT', '2-HIGH') THEN 1 ELSE 0 END) AS high_line_count,
    SUM(CASE WHEN o_orderpriority NOT IN ('1-URGENT', '2-HIGH') THEN 1 ELSE 0 END) AS low_line_count
FROM orders, lineitem
WHERE o_orderkey = l_orderkey
    AND l_shipmode IN ('MAIL', 'SHIP')
    AND l_commitdate < l_receiptdate
    AND l_shipdate < l_commitdate
    AND l_receiptdate >= DATE '1994-01-01'
    AND l_receiptdate < DATE '1994-01-01' + INTERVAL '1' YEAR
GROUP BY l_shipmode;

-- Q13, customer distribution: how many customers have how many orders.
CREATE MATERIALIZED VIEW customer_distribution AS
SELECT c_count, COUNT(*) AS custdist
FROM (
    SELECT c_custkey, COUNT(o_orderkey) AS c_count
    FROM customer
    LEFT OUTER JOIN orders
        ON c_custkey = o_custkey AND o_comment NOT LIKE '%special%requests%'
    GROUP BY c_custkey
) AS c_orders
GROUP BY c_count;

-- Q14, promotion effect: the share of revenue that promotions brought.
CREATE MATERIALIZED VIEW promotion_effect AS
SELECT
    100.00 * SUM(
        CASE WHEN p_type LIKE 'PROMO%' THEN l_extendedprice * (1 - l_discount) ELSE 0 END
    ) / SUM(l_extendedprice * (1 - l_discount)) AS promo_revenue
FROM lineitem, part
WHERE l_partkey = p_partkey
    AND l_shipdate >= DATE '1995-09-01'
    AND l_shipdate < DATE '1995-09-01' + INTERVAL '1' MONTH;

-- Q15, top supplier: the one with the largest revenue of a quarter. The revenue of each is a view of its
-- own that is not sent anywhere.
CREATE LOCAL VIEW supplier_revenue AS
SELECT l_suppkey AS supplier_no, SUM(l_extendedprice * (1 - l_discount)) AS total_revenue
FROM lineitem
WHERE l_shipdate >= DATE '1996-01-01'
    AND l_shipdate < DATE '1996-01-01' + INTERVAL '3' MONTH
GROUP BY l_suppkey;

CREATE MATERIALIZED VIEW top_supplier AS
SELECT s_suppkey, s_name, s_address, s_phone, total_revenue
FROM supplier, supplier_revenue
WHERE s_suppkey = supplier_no
    AND total_revenue = (SELECT MAX(total_revenue) FROM supplier_revenue);

-- Q16, parts and suppliers: how many can supply parts with given attributes.
CREATE MATERIALIZED VIEW parts_suppliers WITH (
    'connectors' = '[{
        "name": "lake",
        "transport": {
            "name": "delta_table_output",
            "config": {
                "uri": "s3://example-tpch/results/parts_suppliers",
                "mode": "truncate",
                "aws_region": "eu-central-1",
                "aws_access_key_id": "${secret:kubernetes:tpch-lake/access-key-id}",
                "aws_secret_access_key": "${secret:kubernetes:tpch-lake/secret-access-key}"
            }
        },
        "enable_output_buffer": true,
        "max_output_buffer_time_millis": 10000
    }]'
) AS
SELECT p_brand, p_type, p_size, COUNT(DISTINCT ps_suppkey) AS supplier_cnt
FROM partsupp, part
WHERE p_partkey = ps_partkey
    AND p_brand <> 'Brand#45'
    AND p_type NOT LIKE 'MEDIUM POLISHED%'
    AND p_size IN (49, 14, 23, 45, 19, 3, 36, 9)
    AND ps_suppkey NOT IN (
        SELECT s_suppkey
        FROM supplier
        WHERE s_comment LIKE '%Customer%Complaints%'
    )
GROUP BY p_brand, p_type, p_size;

-- Q17, small quantity orders: yearly revenue lost without them.
CREATE MATERIALIZED VIEW small_quantity_orders AS
SELECT SUM(l_extendedprice) / 7.0 AS avg_yearly
FROM lineitem, part
WHERE p_partkey = l_partkey
    AND p_brand = 'Brand#23'
    AND p_container = 'MED BOX'
    AND l_quantity < (
        SELECT 0.2 * AVG(l_quantity)
        FROM lineitem
        WHERE l_partkey = p_partkey
    );

-- Q18, large volume customers.
CREATE MATERIALIZED VIEW large_volume_customers WITH (
    'connectors' = '[{
        "name": "stream",
        "transport": {
            "name": "kafka_output",
            "config": {
                "topic": "tpch.large-volume-customers",
                "bootstrap.servers": "kafka.example.com:9093",
                "security.protocol": "SASL_SSL",
                "sasl.mechanism": "SCRAM-SHA-512",
                "sasl.username": "tpch",
                "sasl.password": "${secret:kubernetes:tpch-kafka/password}"
            }
        },
        "format": {"name": "json", "config": {"update_format": "insert_delete", "array": false}},
        "enable_output_buffer": true,
        "max_output_buffer_time_millis": 5000
    }]'
) AS
SELECT
    c_name,
    c_custkey,
    o_orderkey,
    o_orderdate,
    o_totalprice,
    SUM(l_quantity) AS sum_quantity
FROM customer, orders, lineitem
WHERE o_orderkey IN (
        SELECT l_orderkey
        FROM lineitem
        GROUP BY l_orderkey
        HAVING SUM(l_quantity) > 300
    )
    AND c_custkey = o_custkey
    AND o_orderkey = l_orderkey
GROUP BY c_name, c_custkey, o_orderkey, o_orderdate, o_totalprice
ORDER BY o_totalprice DESC, o_orderdate
LIMIT 100;

-- Q19, discounted revenue of parts that were handled in certain ways.
CREATE MATERIALIZED VIEW discounted_revenue AS
SELECT SUM(l_extendedprice * (1 - l_discount)) AS revenue
FROM lineitem, part
WHERE (
        p_partkey = l_partkey
        AND p_brand = 'Brand#12'
        AND p_container IN ('SM CASE', 'SM BOX', 'SM PACK', 'SM PKG')
        AND l_quantity >= 1 AND l_quantity <= 11
        AND p_size BETWEEN 1 AND 5
        AND l_shipmode IN ('AIR', 'AIR REG')
        AND l_shipinstruct = 'DELIVER IN PERSON'
    )
    OR (
        p_partkey = l_partkey
        AND p_brand = 'Brand#23'
        AND p_container IN ('MED BAG', 'MED BOX', 'MED PKG', 'MED PACK')
        AND l_quantity >= 10 AND l_quantity <= 20
        AND p_size BETWEEN 1 AND 10
        AND l_shipmode IN ('AIR', 'AIR REG')
        AND l_shipinstruct = 'DELIVER IN PERSON'
    )
    OR (
        p_partkey = l_partkey
        AND p_brand = 'Brand#34'
        AND p_container IN ('LG CASE', 'LG BOX', 'LG PACK', 'LG PKG')
        AND l_quantity >= 20 AND l_quantity <= 30
        AND p_size BETWEEN 1 AND 15
        AND l_shipmode IN ('AIR', 'AIR REG')
        AND l_shipinstruct = 'DELIVER IN PERSON'
    );

-- Q20, potential part promotion: suppliers with a surplus of a part.
CREATE MATERIALIZED VIEW potential_part_promotion AS
SELECT s_name, s_address
FROM supplier, nation
WHERE s_suppkey IN (
        SELECT ps_suppkey
        FROM partsupp
        WHERE ps_partkey IN (
                SELECT p_partkey
                FROM part
                WHERE p_name LIKE 'forest%'
            )
            AND ps_availqty > (
                SELECT 0.5 * SUM(l_quantity)
                FROM lineitem
                WHERE l_partkey = ps_partkey
                    AND l_suppkey = ps_suppkey
                    AND l_shipdate >= DATE '1994-01-01'
                    AND l_shipdate < DATE '1994-01-01' + INTERVAL '1' YEAR
            )
    )
    AND s_nationkey = n_nationkey
    AND n_name = 'CANADA';

-- Q21, suppliers who kept orders waiting.
CREATE MATERIALIZED VIEW waiting_suppliers AS
SELECT s_name, COUNT(*) AS numwait
FROM supplier, lineitem l1, orders, nation
WHERE s_suppkey = l1.l_suppkey
    AND o_orderkey = l1.l_orderkey
    AND o_orderstatus = 'F'
    AND l1.l_receiptdate > l1.l_commitdate
    AND EXISTS (
        SELECT *
        FROM lineitem l2
        WHERE l2.l_orderkey = l1.l_orderkey
            AND l2.l_suppkey <> l1.l_suppkey
    )
    AND NOT EXISTS (
        SELECT *
        FROM lineitem l3
        WHERE l3.l_orderkey = l1.l_orderkey
            AND l3.l_suppkey <> l1.l_suppkey
            AND l3.l_receiptdate > l3.l_commitdate
    )
    AND s_nationkey = n_nationkey
    AND n_name = 'SAUDI ARABIA'
GROUP BY s_name
ORDER BY numwait DESC, s_name
LIMIT 100;

-- Q22, global sales opportunity: customers with money who have ordered nothing.
CREATE MATERIALIZED VIEW sales_opportunity AS
SELECT cntrycode, COUNT(*) AS numcust, SUM(c_acctbal) AS totacctbal
FROM (
    SELECT SUBSTRING(c_phone FROM 1 FOR 2) AS cntrycode, c_acctbal
    FROM customer
    WHERE SUBSTRING(c_phone FROM 1 FOR 2) IN ('13', '31', '23', '29', '30', '18', '17')
        AND c_acctbal > (
            SELECT AVG(c_acctbal)
            FROM customer
            WHERE c_acctbal > 0.00
                AND SUBSTRING(c_phone FROM 1 FOR 2) IN ('13', '31', '23', '29', '30', '18', '17')
        )
        AND NOT EXISTS (
            SELECT *
            FROM orders
            WHERE o_custkey = c_custkey
        )
) AS custsale
GROUP BY cntrycode;
