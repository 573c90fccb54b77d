//! `engine = "polars"`: the same feature SQL, run by Polars' streaming engine.
//!
//! The tables are read through their providers (so pins, deletion vectors and missing files count
//! exactly as in DataFusion), only in the columns that the SQL names, and handed over without copying.
//!
//! **Limits.** The named columns of all rows of the tables are in memory: filters are not pushed into
//! the files, and `--memory` does not bound Polars. Use DataFusion where that does not fit.
//! Polars' SQL lacks, among others, RANGE frames in windows, correlated subqueries, and
//! comparisons with a scalar subquery; such SQL is refused with Polars' own words. 8- and 16-bit integers become
//! 32-bit ones, decimals floats.
//!
//! **Time.** Polars' SQL has no literals with a time zone, so instants go through it in UTC without
//! one. In the result a timestamp is UTC again unless the tables' only timestamps have no zone, or its
//! name is that of such a column.
//!
//! **Order.** Polars promises none, so rows are sorted by the given keys and then by all other
//! columns, unless the SQL ends in ORDER BY. Sums of floats may differ in the last digits between
//! machines with different numbers of cores; DataFusion's do not.

use super::bridge::{from_polars, to_polars};
use super::diagnostic::{find_name, suggestion};
use super::parameters::{Dialect, Parameters};
use super::session::Session;
use super::sql::{FeatureSql, tables_of};
use crate::error::{Error, Result};
use crate::tables::errors::{from_datafusion, plain};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::TableReference;
use datafusion::sql::sqlparser::ast::JoinConstraint;
use datafusion::sql::sqlparser::ast::{Expr, Ident, Select, SelectItem, Statement, TableFactor, Visit, Visitor};
use polars::prelude::{DataFrame, Engine, IntoLazy, PlSmallStr, PolarsError, SortMultipleOptions};
use polars::sql::SQLContext;
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// Runs feature SQL over the session's tables and returns all rows as one batch, sorted by `keys`.
///
/// # Errors
/// A usage error where Polars does not know what the SQL uses; else as reading the tables fails.
pub async fn run(session: &Session, sql: &FeatureSql, parameters: &Parameters, keys: &[String]) -> Result<RecordBatch> {
    let bound = sql.bind(parameters, Dialect::Polars)?;
    let mut inputs = Vec::new();
    for name in tables_of(&bound)? {
        let (schema, batches) = read(session, &name, &mentioned(&bound)).await?;
        inputs.push((name, schema, batches));
    }
    let zones = Zones::of(inputs.iter().map(|(_, schema, _)| schema.as_ref()));
    let names = known_names(session, inputs.iter().map(|(name, ..)| name.as_str())).await;
    let frames = inputs
        .into_iter()
        .map(|(name, schema, batches)| Ok((name, to_polars(&schema, &batches)?)))
        .collect::<Result<Vec<_>>>()?;
    let keys = if sql.is_ordered() { None } else { Some(keys.to_vec()) };
    let text = bound.to_string();
    // Polars brings its own threads and waits for them, which must not hold up the async ones.
    let frame = tokio::task::spawn_blocking(move || execute(frames, &text, keys))
        .await
        .map_err(|error| Error::usage("polars gave up on the SQL").hint(HINT).because(error))?
        .map_err(|error| refused(sql, &names, &error))?;
    from_polars(&frame, |name| zones.is_instant(name))
}

const HINT: &str = "write it in another way, or use engine = \"datafusion\"";

fn execute(frames: Vec<(String, DataFrame)>, text: &str, keys: Option<Vec<String>>) -> Result<DataFrame, PolarsError> {
    let mut context = SQLContext::new();
    for (name, frame) in frames {
        context.register(&name, frame.lazy());
    }
    let mut query = context.execute(text)?;
    if let Some(keys) = keys {
        let columns = query.collect_schema()?;
        let first = keys.iter().map(|key| PlSmallStr::from_str(key)).filter(|key| columns.contains(key));
        let mut order: Vec<PlSmallStr> = first.collect();
        for name in columns.iter_names() {
            if !order.contains(name) {
                order.push(name.clone());
            }
        }
        let options = SortMultipleOptions::default().with_nulls_last(true).with_maintain_order(true);
        query = query.sort(order, options);
    }
    // One query without sinks has one result.
    Ok(query.collect_with_engine(Engine::Streaming)?.unwrap_single())
}

/// All columns of the tables, for hints.
async fn known_names(session: &Session, tables: impl Iterator<Item = &str>) -> Vec<String> {
    let mut names = Vec::new();
    for table in tables {
        if let Ok(provider) = session.context().table_provider(TableReference::bare(table.to_owned())).await {
            names.extend(provider.schema().fields().iter().map(|field| field.name().clone()));
        }
    }
    names
}

fn refused(sql: &FeatureSql, names: &[String], error: &PolarsError) -> Error {
    let text = plain(&error.to_string());
    let unknown = text.split_once("column \"").and_then(|(_, tail)| tail.split_once('"')).map(|(name, _)| name);
    if let (PolarsError::ColumnNotFound(_), Some(name)) = (error, unknown) {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let place = find_name(sql.statement(), name);
        return sql.problem(place, format!("unknown column `{name}`")).hint(suggestion(name, &names, "columns")).into();
    }
    let message = match error {
        PolarsError::ColumnNotFound(_) => text,
        PolarsError::SQLInterface(_) | PolarsError::SQLSyntax(_) | PolarsError::InvalidOperation(_) => {
            format!("the polars engine cannot run the SQL: {text}")
        }
        PolarsError::ComputeError(_) | PolarsError::SchemaMismatch(_) => {
            return Error::check(text).with("sql", sql.file());
        }
        _ => return Error::failed(format!("polars failed: {text}")).with("sql", sql.file()),
    };
    Error::usage(message).with("sql", sql.file()).hint(HINT)
}

/// The columns `names` of a table (all, if `None`), as far as it has them.
async fn read(
    session: &Session,
    table: &str,
    names: &Option<BTreeSet<String>>,
) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let reference = TableReference::bare(table.to_owned());
    let provider = session
        .context()
        .table_provider(reference)
        .await
        .map_err(|_| Error::usage(format!("unknown table `{table}`")))?;
    let schema = provider.schema();
    let mut columns: Vec<usize> = (0..schema.fields().len()).collect();
    if let Some(names) = names {
        columns.retain(|index| names.contains(schema.field(*index).name()));
    }
    let frame = session.context().read_table(provider).map_err(from_datafusion)?;
    let selected: Vec<_> = columns
        .iter()
        .map(|index| {
            datafusion::prelude::Expr::Column(datafusion::common::Column::from_name(schema.field(*index).name()))
        })
        .collect();
    let frame = frame.select(selected).map_err(from_datafusion)?;
    let batches = frame.collect().await.map_err(from_datafusion)?;
    let schema =
        batches.first().map_or_else(|| schema.project(&columns).map(SchemaRef::new), |batch| Ok(batch.schema()));
    Ok((schema.map_err(|error| Error::failed("the columns cannot be chosen").because(error))?, batches))
}

/// Every name that may be a column, or `None` where a wildcard means all of them.
fn mentioned(statement: &Statement) -> Option<BTreeSet<String>> {
    #[derive(Default)]
    struct Names(BTreeSet<String>);
    impl Names {
        fn add<'a>(&mut self, idents: impl IntoIterator<Item = &'a Ident>) {
            self.0.extend(idents.into_iter().map(|ident| ident.value.clone()));
        }
    }
    impl Visitor for Names {
        type Break = ();

        fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
            let wild = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
            if select.projection.iter().any(wild) {
                return ControlFlow::Break(());
            }
            // USING names columns outside of any expression; a natural join means all that agree.
            for join in select.from.iter().flat_map(|from| &from.joins) {
                match constraint(&join.join_operator) {
                    Some(JoinConstraint::Using(columns)) => {
                        for column in columns {
                            self.add(column.0.iter().filter_map(|part| part.as_ident()));
                        }
                    }
                    Some(JoinConstraint::Natural) => return ControlFlow::Break(()),
                    _ => {}
                }
            }
            ControlFlow::Continue(())
        }

        fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
            match factor {
                TableFactor::Table { .. } | TableFactor::Derived { .. } => ControlFlow::Continue(()),
                // PIVOT, UNNEST and the like name columns in their own ways.
                _ => ControlFlow::Break(()),
            }
        }

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Identifier(ident) => self.add([ident]),
                Expr::CompoundIdentifier(idents) => self.add(idents),
                _ => {}
            }
            ControlFlow::Continue(())
        }
    }
    let mut names = Names::default();
    match statement.visit(&mut names) {
        ControlFlow::Continue(()) => Some(names.0),
        ControlFlow::Break(()) => None,
    }
}

fn constraint(operator: &datafusion::sql::sqlparser::ast::JoinOperator) -> Option<&JoinConstraint> {
    use datafusion::sql::sqlparser::ast::JoinOperator as Join;
    match operator {
        Join::Join(found)
        | Join::Inner(found)
        | Join::Left(found)
        | Join::LeftOuter(found)
        | Join::Right(found)
        | Join::RightOuter(found)
        | Join::FullOuter(found)
        | Join::Semi(found)
        | Join::LeftSemi(found)
        | Join::RightSemi(found)
        | Join::Anti(found)
        | Join::LeftAnti(found)
        | Join::RightAnti(found) => Some(found),
        _ => None,
    }
}

/// Which timestamps of the result are instants.
struct Zones {
    /// Columns of the inputs without a time zone.
    local: BTreeSet<String>,
    /// Whether any column of the inputs has one.
    any: bool,
}

impl Zones {
    fn of<'a>(schemas: impl Iterator<Item = &'a Schema>) -> Self {
        let mut zones = Self { local: BTreeSet::new(), any: false };
        for field in schemas.flat_map(|schema| schema.fields()) {
            match field.data_type() {
                DataType::Timestamp(_, Some(_)) => zones.any = true,
                DataType::Timestamp(_, None) => {
                    zones.local.insert(field.name().clone());
                }
                _ => {}
            }
        }
        zones
    }

    fn is_instant(&self, name: &str) -> bool {
        (self.any || self.local.is_empty()) && !self.local.contains(name)
    }
}
