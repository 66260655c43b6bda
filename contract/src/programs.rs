//! The programs that the cases use. They are small, because a real engine compiles each.

/// The connector reads its rows from nowhere; the table is materialized, so that views can be
/// bootstrapped from it.
const TABLE: &str = "\
CREATE TABLE orders (id INT NOT NULL PRIMARY KEY, amount INT) WITH (
    'materialized' = 'true',
    'connectors' = '[{\"name\": \"made\", \"transport\": {
        \"name\": \"datagen\", \"config\": {\"plan\": [{\"limit\": 50}]}}}]');
";

/// What every pipeline begins with.
pub fn old() -> String {
    format!(
        "{TABLE}CREATE MATERIALIZED VIEW totals AS \
         SELECT amount, COUNT(*) AS n FROM orders GROUP BY amount;\n"
    )
}

/// The view `totals` is another one, and `large` is new.
pub fn new() -> String {
    format!(
        "{TABLE}CREATE MATERIALIZED VIEW totals AS \
         SELECT amount, SUM(id) AS n FROM orders GROUP BY amount;\n\
         CREATE MATERIALIZED VIEW large AS SELECT id FROM orders WHERE amount > 10;\n"
    )
}

/// The line of [`broken`] that is wrong, counted from 1.
pub const BROKEN_LINE: u64 = 2;

/// Reads a table that isn't there.
pub fn broken() -> String {
    "CREATE TABLE orders (id INT NOT NULL PRIMARY KEY, amount INT);\n\
     CREATE VIEW totals AS SELECT * FROM nosuch;\n"
        .to_owned()
}

/// Can't be bootstrapped from [`old`] under any policy.
pub fn with_lateness() -> String {
    new().replace("amount INT)", "amount INT LATENESS 5)")
}
