//! The stand-in's compiler: what it reads, what it refuses and where, and the ids that it makes.

use std::collections::{BTreeMap, BTreeSet};

use feldera_sim::compiler::{Program, compile};
use feldera_sim::diff::{self, Diff};
use proptest::prelude::*;

const MARKET: &str = include_str!("programs/market.sql");

fn program(sql: &str) -> std::sync::Arc<Program> {
    match compile(sql).program {
        Ok(program) => program,
        Err(messages) => panic!("{messages:#?}\n{sql}"),
    }
}

fn ids(sql: &str) -> BTreeMap<String, String> {
    let info = serde_json::to_value(&program(sql).info).unwrap();
    info["program_ir"]["mir"]
        .as_object()
        .unwrap()
        .values()
        .map(|node| {
            let name = node["table"].as_str().or(node["view"].as_str()).unwrap();
            let id = node["persistent_id"].as_str().unwrap();
            (name.to_owned(), id.to_owned())
        })
        .collect()
}

fn changed(old: &str, new: &str) -> BTreeSet<String> {
    let (old, new) = (ids(old), ids(new));
    old.iter()
        .filter(|(name, id)| new.get(*name) != Some(id))
        .map(|(name, _)| name.clone())
        .collect()
}

fn diff(old: &str, new: &str) -> Diff {
    diff::compute(&program(old), false, &program(new)).unwrap()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

#[test]
fn a_program_that_uses_the_whole_grammar_is_read() {
    let program = program(MARKET);
    let tables: Vec<&str> = program.tables.keys().map(String::as_str).collect();
    assert_eq!(
        tables,
        [
            "bid",
            "customer",
            "edge",
            "line_item",
            "nation",
            "orders",
            "part"
        ]
    );
    assert_eq!(program.views.len(), 17);
    assert_eq!(program.rust_functions, ["sentiment", "weighted"]);
    let names = |endpoints: &[feldera_sim::compiler::connectors::Endpoint]| -> Vec<String> {
        endpoints.iter().map(|e| e.name.clone()).collect()
    };
    assert_eq!(
        names(&program.tables["customer"].inputs),
        ["customer.unnamed-0", "customer.unnamed-1"]
    );
    assert_eq!(
        names(&program.views["closure_sizes"].outputs),
        ["closure_sizes.unnamed-0", "closure_sizes.file"]
    );
    assert_eq!(program.tables["nation"].inputs[0].rows, 25);
    assert_eq!(program.views["closure_sizes"].tables, set(&["edge"]));
    assert_eq!(
        program.views["best_orders"].tables,
        set(&["line_item", "orders"])
    );
    assert_eq!(program.views["hot_items"].tables, set(&["bid"]));
    assert!(program.tables["part"].materialized && !program.tables["bid"].materialized);
    // Feldera's own types must be able to read the schema.
    let schema: feldera_types::program_schema::ProgramSchema =
        serde_json::from_value(program.schema.clone()).unwrap();
    let late: Vec<String> = schema
        .relations_with_lateness()
        .iter()
        .map(|r| r.name())
        .collect();
    assert_eq!(late, ["orders", "bid", "rolling"]);
    assert!(
        schema
            .outputs
            .iter()
            .all(|view| view.name.name() != "revenue"),
        "a local view is no output"
    );
}

/// Program, line, column, and a part of the message.
const REFUSED: &[(&str, u64, u64, &str)] = &[
    ("SELECT 1", 1, 1, "CREATE TABLE"),
    ("CREATE TABEL t (a INT)", 1, 8, "TABLE, VIEW"),
    ("CREATE TABLE t (a INT,)", 1, 23, "identifier"),
    ("CREATE TABLE t (a INT b)", 1, 23, ")"),
    ("CREATE TABLE t (a)", 1, 18, "a type"),
    ("CREATE TABLE t (a MAP<INT, INT)", 1, 31, "'>'"),
    ("CREATE TABLE t (a MAP<INT, INT>>)", 1, 31, "as many"),
    (
        "CREATE TABLE t (a INT) WITH (x = 'y')",
        1,
        30,
        "single quotes",
    ),
    (
        "CREATE TABLE t (a INT) WITH ('k' = 'a', 'k' = 'b')",
        1,
        41,
        "there twice",
    ),
    ("CREATE TABLE t (a INT) garbage", 1, 24, "';'"),
    (
        "CREATE TABLE t (a INT);\nCREATE VIEW v AS\n  SELEKT a FROM t",
        3,
        3,
        "SELECT",
    ),
    (
        "CREATE TABLE t (a INT);\nCREATE VIEW v AS SELECT (a FROM t",
        2,
        28,
        ")",
    ),
    ("CREATE VIEW v AS SELECT 'a", 1, 25, "Unterminated"),
    (
        "CREATE VIEW v AS SELECT INTERVAL '1' FORTNIGHT",
        1,
        38,
        "DAY",
    ),
    ("CREATE VIEW v AS SELECT 1 UNION", 1, 32, "SELECT"),
    ("DROP TABLE t", 1, 1, "CREATE TABLE"),
    // Names.
    (
        "CREATE VIEW v AS\nSELECT * FROM nosuch",
        2,
        15,
        "Object 'nosuch' not found",
    ),
    (
        "CREATE TABLE t (a INT); CREATE VIEW v AS SELECT (SELECT 1 FROM \"T\") FROM t",
        1,
        64,
        "Object 'T' not found",
    ),
    (
        "CREATE VIEW w AS SELECT * FROM v; CREATE VIEW v AS SELECT 1",
        1,
        32,
        "Object 'v' not found",
    ),
    (
        "CREATE VIEW v AS SELECT * FROM TABLE(TUMBLE(TABLE b, DESCRIPTOR(x), INTERVAL 1 DAY))",
        1,
        51,
        "Object 'b' not found",
    ),
    (
        "CREATE TABLE t (a INT);\nCREATE VIEW T AS SELECT 1",
        2,
        13,
        "Object 't' already exists",
    ),
    (
        "CREATE TABLE t (a INT, A INT)",
        1,
        24,
        "Column with name 'a' already defined",
    ),
    (
        "CREATE TABLE t (a INT, PRIMARY KEY (b))",
        1,
        37,
        "isn't a column",
    ),
    (
        "CREATE TABLE t (a INT PRIMARY KEY)",
        1,
        17,
        "PRIMARY KEY cannot be nullable",
    ),
    ("CREATE TABLE t (a nosuch)", 1, 19, "no such type"),
    ("CREATE TYPE x AS (a y ARRAY)", 1, 21, "no such type"),
    (
        "CREATE FUNCTION f(a INT) RETURNS INT; CREATE FUNCTION f(a INT) RETURNS INT",
        1,
        55,
        "already exists",
    ),
    ("DECLARE RECURSIVE VIEW r (a INT)", 1, 24, "never defined"),
    ("LATENESS v.x 1", 1, 10, "Object 'v' not found"),
    (
        "CREATE TABLE t (a INT); LATENESS t.a 1",
        1,
        34,
        "isn't a view",
    ),
    ("CREATE INDEX i ON v (a)", 1, 19, "Object 'v' not found"),
    (
        "CREATE TABLE t (a INT) WITH ('materialized' = 'yes')",
        1,
        47,
        "boolean",
    ),
    // Connectors.
    (
        "CREATE TABLE t (a INT) WITH ('connectors' = '[')",
        1,
        45,
        "deserialization failed",
    ),
    (
        "CREATE TABLE t (a INT) WITH ('connectors' = '{}')",
        1,
        45,
        "deserialization failed",
    ),
    (
        "CREATE TABLE t (a INT) WITH ('connectors' = '[{}]')",
        1,
        45,
        "transport",
    ),
    (
        "CREATE TABLE t (a INT) WITH ('connectors' = '[{\"transport\": {\"name\": \"nosuch\"}}]')",
        1,
        45,
        "nosuch",
    ),
    (
        "CREATE TABLE t (a INT) WITH ('connectors' = '[{\"transport\": {\"name\": \"null_output\"}}]')",
        1,
        45,
        "expected an input connector",
    ),
    (
        "CREATE VIEW v WITH ('connectors' = '[{\"transport\": {\"name\": \"datagen\", \"config\": {}}}]') AS SELECT 1",
        1,
        36,
        "expected an output connector",
    ),
    (
        "CREATE TABLE t (a INT) WITH ('connectors' = '[{\"name\": \"a b\", \"transport\": {\"name\": \"datagen\", \"config\": {}}}]')",
        1,
        45,
        "connector name 'a b' is not valid",
    ),
    (
        "CREATE TABLE t (a INT) WITH ('connectors' = '[{\"name\": \"x\", \"transport\": {\"name\": \"datagen\", \"config\": {}}}, {\"name\": \"x\", \"transport\": {\"name\": \"datagen\", \"config\": {}}}]')",
        1,
        45,
        "two connectors are named 'x'",
    ),
    (
        "CREATE LOCAL VIEW v WITH ('connectors' = '[{\"transport\": {\"name\": \"null_output\"}}]') AS SELECT 1",
        1,
        27,
        "LOCAL",
    ),
];

#[test]
fn what_can_not_be_read_is_an_error_with_its_place() {
    for (sql, line, column, message) in REFUSED {
        let messages = compile(sql).program.expect_err(sql);
        let found = &messages[0];
        assert!(found.message.contains(message), "{sql}\n{found:#?}");
        assert_eq!(
            (found.start_line_number, found.start_column),
            (*line, *column),
            "{sql}\n{found:#?}"
        );
        assert!(!found.warning && found.snippet.is_some(), "{found:#?}");
        assert!(
            (found.end_line_number, found.end_column)
                >= (found.start_line_number, found.start_column)
        );
    }
}

#[test]
fn a_foreign_key_to_no_table_is_a_warning() {
    let compiled = compile("CREATE TABLE t (a INT FOREIGN KEY REFERENCES x (b));");
    assert!(compiled.program.is_ok());
    assert!(compiled.warnings[0].warning);
    assert!(compiled.warnings[0].message.contains("'x'"));
}

#[test]
fn deep_nesting_is_an_error_and_not_a_crash() {
    let deep = format!(
        "CREATE VIEW v AS SELECT {}1{}",
        "(".repeat(5000),
        ")".repeat(5000)
    );
    assert!(
        compile(&deep).program.unwrap_err()[0]
            .message
            .contains("nests deeper")
    );
    let long = format!("CREATE VIEW v AS SELECT {}", vec!["1"; 5000].join(" + "));
    assert!(compile(&long).program.is_ok());
}

const BASE: &str = "
    CREATE TYPE pair AS (x INT, y INT);
    CREATE FUNCTION twice(x INT) RETURNS INT AS x * 2;
    CREATE FUNCTION rusty(x INT) RETURNS INT;
    CREATE TABLE t1 (id INT NOT NULL PRIMARY KEY, name VARCHAR) WITH (
        'connectors' = '[{\"name\": \"file\", \"transport\": {\"name\": \"datagen\", \"config\": {\"plan\": [{\"limit\": 50}]}}}]');
    CREATE TABLE t2 (id INT, p pair) WITH ('materialized' = 'true');
    CREATE VIEW v1 AS SELECT id, name FROM t1;
    CREATE VIEW v2 AS SELECT id, twice(id) FROM t2;
    CREATE VIEW v3 AS SELECT rusty(v1.id) FROM v1 JOIN v2 USING (id);
    CREATE VIEW v4 AS WITH v2 AS (SELECT 1 AS one) SELECT * FROM v2, t1;
";

/// An edit of [`BASE`], and what it changes.
const EDITS: &[(&str, &str, &[&str])] = &[
    (
        "SELECT id, name FROM t1",
        "SELECT name, id FROM t1",
        &["v1", "v3"],
    ),
    (
        "SELECT id, name FROM t1",
        "select  ID, -- x\n Name /* y */ from T1",
        &[],
    ),
    (
        "name VARCHAR",
        "name VARCHAR(10)",
        &["t1", "v1", "v3", "v4"],
    ),
    ("\"limit\": 50", "\"limit\": 60", &[]),
    (
        "'materialized' = 'true'",
        "'materialized' = 'false'",
        &["t2", "v2", "v3", "v4"],
    ),
    ("x * 2", "x + x", &["v2", "v3", "v4"]),
    (
        "(x INT, y INT)",
        "(x INT, y BIGINT)",
        &["t2", "v2", "v3", "v4"],
    ),
    ("rusty(x INT)", "rusty(y INT)", &["v3"]),
    ("SELECT 1 AS one", "SELECT 2 AS one", &["v4"]),
    (
        "twice(id) FROM t2;",
        "twice(id) FROM t2; LATENESS v2.id 5;",
        &["v2", "v3", "v4"],
    ),
    (
        "CREATE VIEW v1",
        "CREATE MATERIALIZED VIEW v1",
        &["v1", "v3"],
    ),
];

#[test]
fn ids_cover_definition_and_dependencies() {
    for (from, to, expected) in EDITS {
        assert!(BASE.contains(from), "{from}");
        let edited = BASE.replacen(from, to, 1);
        assert_eq!(changed(BASE, &edited), set(expected), "{from} -> {to}");
    }
}

/// An edit of the program, and the diff: what is added, modified, removed.
#[test]
fn the_diff_is_the_engines() {
    let sink = "WITH ('connectors' = '[{\"name\": \"sink\", \"transport\": {\"name\": \"null_output\"}}]')";
    let old = format!(
        "CREATE TABLE t1 (id INT) WITH ('connectors' = '[{{\"name\": \"file\", \"paused\": false, \"transport\": {{\"name\": \"datagen\", \"config\": {{}}}}}}]');
         CREATE TABLE t2 (id INT); CREATE TABLE t3 (id INT);
         CREATE VIEW v1 {sink} AS SELECT * FROM t1;
         CREATE VIEW v3 AS SELECT * FROM t3;"
    );
    let case = |from: &str, to: &str, expected: Diff| {
        assert!(old.contains(from), "{from}");
        assert_eq!(
            diff(&old, &old.replacen(from, to, 1)),
            expected,
            "{from} -> {to}"
        );
    };
    let list = |names: &[&str]| -> Vec<String> { names.iter().map(|n| (*n).to_owned()).collect() };
    let none = Diff::default;
    case(
        "CREATE VIEW v3",
        "CREATE VIEW v4 AS SELECT 1; CREATE VIEW v3",
        Diff {
            added_views: list(&["v4"]),
            ..none()
        },
    );
    case(
        "CREATE VIEW v3",
        "CREATE TABLE t9 (id INT); CREATE VIEW v3",
        Diff {
            added_tables: list(&["t9"]),
            ..none()
        },
    );
    case(
        "CREATE VIEW v3 AS SELECT * FROM t3",
        "",
        Diff {
            removed_views: list(&["v3"]),
            ..none()
        },
    );
    case(
        &format!("CREATE VIEW v1 {sink} AS SELECT * FROM t1;"),
        "",
        Diff {
            removed_views: list(&["v1"]),
            ..none()
        },
    );
    case(
        "t2 (id INT)",
        "t2 (id BIGINT)",
        Diff {
            modified_tables: list(&["t2"]),
            ..none()
        },
    );
    case(
        "t3 (id INT)",
        "t3 (id BIGINT)",
        Diff {
            modified_tables: list(&["t3"]),
            modified_views: list(&["v3"]),
            ..none()
        },
    );
    case(
        "CREATE TABLE t2 (id INT);",
        "",
        Diff {
            removed_tables: list(&["t2"]),
            ..none()
        },
    );
    case(
        "t2 (id INT)",
        "t2 (id INT) WITH ('connectors' = '[{\"name\": \"extra\", \"transport\": {\"name\": \"datagen\", \"config\": {}}}]')",
        Diff {
            added_input_connectors: list(&["t2.extra"]),
            ..none()
        },
    );
    case(
        "\"file\"",
        "\"renamed\"",
        Diff {
            added_input_connectors: list(&["t1.renamed"]),
            removed_input_connectors: list(&["t1.file"]),
            ..none()
        },
    );
    case(
        "\"config\": {}",
        "\"config\": {\"plan\": [{\"limit\": 1}]}",
        Diff {
            modified_input_connectors: list(&["t1.file"]),
            ..none()
        },
    );
    case(
        sink,
        "",
        Diff {
            removed_output_connectors: list(&["v1.sink"]),
            ..none()
        },
    );
    case(
        "\"name\": \"sink\"",
        "\"name\": \"sink\", \"max_queued_records\": 5",
        Diff {
            modified_output_connectors: list(&["v1.sink"]),
            ..none()
        },
    );
    case(
        "\"name\": \"file\"",
        "\"name\": \"file\", \"labels\": [\"x\"]",
        Diff {
            modified_input_connectors: list(&["t1.file"]),
            ..none()
        },
    );
    for ungated in [
        "\"paused\": true",
        "\"max_batch_size\": 7",
        "\"max_worker_batch_size\": 7",
        "\"max_queued_records\": 7",
        "\"max_queued_bytes\": 7",
    ] {
        case("\"paused\": false", ungated, none());
    }
    case(
        "\"name\": \"sink\"",
        "\"name\": \"sink\", \"paused\": true",
        none(),
    );
    // Two unnamed ones that change places are both another.
    let two = |a: u32, b: u32| {
        let plan = |n| {
            format!(
                "{{\"transport\": {{\"name\": \"datagen\", \"config\": {{\"plan\": [{{\"limit\": {n}}}]}}}}}}"
            )
        };
        format!(
            "CREATE TABLE t (a INT) WITH ('connectors' = '[{}, {}]')",
            plan(a),
            plan(b)
        )
    };
    assert_eq!(
        diff(&two(1, 2), &two(2, 1)),
        Diff {
            modified_input_connectors: list(&["t.unnamed-0", "t.unnamed-1"]),
            ..none()
        }
    );
    // Quoted names, and the order of lists.
    let added = diff(
        "CREATE VIEW v AS SELECT 1",
        "CREATE VIEW z AS SELECT 1; CREATE VIEW \"V4 \"\"q\"\"\" AS SELECT 1; CREATE VIEW v AS SELECT 1",
    );
    assert_eq!(added.added_views, ["V4 \"q\"", "z"]);
}

#[test]
fn lateness_and_missing_descriptions_are_refused_as_by_the_engine() {
    let plain = "CREATE TABLE t2 (id INT); CREATE VIEW v AS SELECT * FROM t2;";
    let late = "CREATE TABLE t2 (id INT LATENESS 5); CREATE VIEW v AS SELECT * FROM t2;";
    let later = "CREATE TABLE t2 (id INT LATENESS 6); CREATE VIEW v AS SELECT * FROM t2;";
    let new = "- The new version of the program has relations with lateness: t2\n";
    let old = "- The checkpointed version of the program has relations with lateness: t2\n";
    let compare = |a, b| diff::compute(&program(a), false, &program(b));
    assert_eq!(compare(plain, late), Err(new.to_owned()));
    assert_eq!(compare(late, plain), Err(old.to_owned()));
    assert_eq!(compare(late, later), Err(format!("{new}{old}")));
    assert!(compare(late, late).unwrap().is_empty());
    let undescribed = diff::compute(&program(plain), true, &program(plain)).unwrap();
    assert!(!undescribed.is_empty());
    let json = undescribed.to_json();
    assert!(json["program_diff"].is_null());
    assert!(
        json["program_diff_error"]
            .as_str()
            .unwrap()
            .starts_with("Unable to compute the diff between the checkpointed and new")
    );
}

#[test]
fn keys_of_a_diff_are_in_alphabetical_order() {
    let text = Diff::default().to_json().to_string();
    assert_eq!(
        text,
        concat!(
            r#"{"added_input_connectors":[],"added_output_connectors":[],"#,
            r#""modified_input_connectors":[],"modified_output_connectors":[],"#,
            r#""program_diff":{"added_tables":[],"added_views":[],"modified_tables":[],"#,
            r#""modified_views":[],"removed_tables":[],"removed_views":[]},"#,
            r#""program_diff_error":null,"removed_input_connectors":[],"removed_output_connectors":[]}"#
        )
    );
}

/// What may stand between two tokens without meaning anything.
fn blank() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(" ".to_owned()),
        Just("\n".to_owned()),
        Just("\t \r\n".to_owned()),
        Just(" /* a 'comment' */ ".to_owned()),
        Just(" -- it's; one\n".to_owned()),
        Just(" // it's; one\n".to_owned()),
    ]
}

/// A program of views, each made from some before it: for each view, which ones, and a number
/// in its text.
fn layered() -> impl Strategy<Value = Vec<(Vec<usize>, u32)>> {
    prop::collection::vec(
        (prop::collection::vec(0_usize..100, 0..3), 0_u32..1000),
        1..12,
    )
}

fn layered_sql(views: &[(Vec<usize>, u32)]) -> (String, Vec<BTreeSet<usize>>) {
    let mut sql = "CREATE TABLE base (a INT);\n".to_owned();
    let mut reads = Vec::new();
    for (n, (raw, number)) in views.iter().enumerate() {
        let from: BTreeSet<usize> = raw.iter().filter(|_| n > 0).map(|r| r % n.max(1)).collect();
        let mut tables = vec!["base".to_owned()];
        tables.extend(from.iter().map(|r| format!("v{r}")));
        sql.push_str(&format!(
            "CREATE VIEW v{n} AS SELECT {number} AS a FROM {};\n",
            tables.join(", ")
        ));
        reads.push(from);
    }
    (sql, reads)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn blanks_and_comments_change_no_id(blanks in prop::collection::vec(blank(), 20)) {
        let mut n = 0;
        let mut quoted = false;
        let mut edited = String::new();
        for c in BASE.chars() {
            quoted ^= c == '\'';
            if !quoted && c.is_whitespace() {
                edited.push_str(&blanks[n % blanks.len()]);
                n += 1;
            } else {
                edited.push(c);
            }
        }
        prop_assert_eq!(ids(BASE), ids(&edited));
    }

    #[test]
    fn changing_a_view_changes_exactly_it_and_its_dependents(views in layered(), at in 0_usize..100) {
        let at = at % views.len();
        let mut edited = views.clone();
        edited[at].1 += 1;
        let (old, reads) = layered_sql(&views);
        let (new, _) = layered_sql(&edited);
        let mut expected = BTreeSet::from([at]);
        for (n, read) in reads.iter().enumerate().skip(at) {
            if read.iter().any(|r| expected.contains(r)) {
                expected.insert(n);
            }
        }
        let expected: BTreeSet<String> = expected.iter().map(|n| format!("v{n}")).collect();
        prop_assert_eq!(changed(&old, &new), expected);
    }

    #[test]
    fn the_order_of_independent_statements_does_not_matter(swap in 0_usize..3) {
        let statements = ["CREATE TABLE a (x INT)", "CREATE TABLE b (x INT)", "CREATE TABLE c (x INT)", "CREATE TABLE d (x INT)"];
        let mut swapped = statements;
        swapped.swap(swap, swap + 1);
        prop_assert_eq!(ids(&statements.join(";")), ids(&swapped.join(";")));
    }

    #[test]
    fn no_text_makes_the_compiler_panic(text in "[ a-zA-Z0-9'\"();,.<>\\[\\]{}*/+\\-=\\n]{0,80}") {
        let message = format!("CREATE VIEW v AS {text}");
        for sql in [text, message] {
            if let Err(messages) = compile(&sql).program {
                prop_assert!(!messages[0].message.contains("panicked"), "{:?}", messages);
            }
        }
    }
}
