//! Ad hoc SQL: it only reads, and only the tables that it is given.

use super::{Case, case};

fn query(name: &'static str, sql: &str) -> Case {
    case(name, 2, &["query", sql, "--table", "t=lake/transactions"])
}

fn with(name: &'static str, exit: i32, more: &[&str]) -> Case {
    case(
        name,
        exit,
        &[&["query", "SELECT customer_id FROM t LIMIT 1", "--table", "t=lake/transactions"], more].concat(),
    )
}

pub fn cases() -> Vec<Case> {
    vec![
        query("query_drops_a_table", "DROP TABLE t"),
        query("query_copies", "COPY t TO 'out.csv'"),
        query("query_sets", "SET datafusion.execution.batch_size = 1"),
        query("query_inserts", "INSERT INTO t VALUES (1)"),
        query("query_creates", "CREATE TABLE x AS SELECT 1"),
        query("query_selects_into", "SELECT * INTO x FROM t"),
        query("query_reads_a_file", "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION 'job.toml'"),
        query("query_explains_an_insert", "EXPLAIN ANALYZE INSERT INTO t VALUES (1)"),
        query("query_path_as_a_table", "SELECT * FROM 'job.toml'"),
        query("query_unknown_table", "SELECT * FROM u"),
        query("query_unknown_column", "SELECT tx_amuont FROM t"),
        query("query_two_statements", "SELECT 1; SELECT 2"),
        query("query_is_empty", ""),
        query("query_parameter_without_an_interval", "SELECT * FROM t WHERE tx_datetime > $interval_start"),
        case("query_no_table_is_given", 2, &["query", "SELECT 1"]),
        case("query_table_without_a_name", 2, &["query", "SELECT 1", "--table", "lake/transactions"]),
        case("query_unknown_version", 2, &["query", "SELECT 1 FROM t", "--table", "t=lake/transactions@999"]),
        case("query_sql_file_missing", 2, &["query", "none.sql", "--table", "t=lake/transactions"]),
        with("query_table_twice", 2, &["--table", "t=lake/transactions"]),
        with("query_parquet_without_a_file", 2, &["--format", "parquet"]),
        with("query_out_in_no_folder", 2, &["--format", "csv", "--out", "no/rows.csv"]),
        case("query_job_mistyped", 2, &["query", "SELECT 1", "--job", "jub.toml"]),
        with("query_out_is_a_folder", 2, &["--format", "csv", "--out", "home"]),
    ]
}
