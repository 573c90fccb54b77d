//! Parquet files that a run has written itself, read back: in the order of their rows, or sorted.
//!
//! The sort has a budget of its own, whatever the queries may use: it holds so much in memory, spills
//! sorted runs beyond that and merges them, so that the memory of a run does not grow with its rows.
//! The budget is small enough for a million rows to spill already.

use super::{Session, SessionOptions, from_datafusion};
use crate::error::Result;
use crate::lake::Location;
use crate::tables::register_store;
use arrow::array::{ArrayRef, BinaryArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::Column;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::prelude::{DataFrame, Expr, ParquetReadOptions, col};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

/// What a sort holds in memory before it spills, in bytes.
const SORT_BYTES: usize = 32 << 20;

/// How much of it is kept for merging what is in memory.
const MERGE_BYTES: usize = 16 << 20;

/// Rows a batch: a merge holds one or two batches of every run.
const BATCH_ROWS: usize = 4096;

/// The column that holds the codes while rows are sorted by them; no column of a lake has this name.
const CODE: &str = "\u{1}code";

/// Rows of files, batch by batch.
pub struct FileRows {
    /// The columns.
    pub schema: SchemaRef,
    /// The rows, in order.
    pub batches: BoxStream<'static, Result<RecordBatch>>,
}

/// Gives the bytes that stand for the values of the columns of a batch, one element a row.
pub type Code = Arc<dyn Fn(&RecordBatch) -> Result<BinaryArray> + Send + Sync>;

/// How files are sorted.
#[derive(Clone)]
pub struct Sorting<'a> {
    /// The columns whose codes come first, ascending by bytes, and what gives their codes.
    pub first: (&'a [String], Code),
    /// Then these columns, the greatest value first, nulls last.
    pub then_greatest: Vec<&'a str>,
    /// Further columns that are wanted.
    pub with: Vec<&'a str>,
}

/// The rows of `files`, file by file, with strings as they were written. Files are URLs.
///
/// # Errors
/// What opening the files fails with; the stream's own errors come in the stream.
pub async fn file_rows(files: &[String]) -> Result<FileRows> {
    streamed(read(files).await?).await
}

/// The rows of `files` sorted out of core, with the columns that the sorting names (and one of its
/// own); without files, none of the columns of `schema`.
///
/// # Errors
/// What opening the files fails with; what `first`'s code refuses and `budget`, where rows are too
/// wide to be sorted, come in the stream.
pub async fn sorted_file_rows(files: &[String], schema: &Schema, sorting: &Sorting<'_>) -> Result<FileRows> {
    let mut names: Vec<&str> = Vec::new();
    let (coded, code) = &sorting.first;
    for name in coded.iter().map(String::as_str).chain(sorting.then_greatest.iter().chain(&sorting.with).copied()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if files.is_empty() {
        let fields = schema.fields().iter().filter(|field| names.contains(&field.name().as_str())).cloned();
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        return Ok(FileRows { schema, batches: stream::empty().boxed() });
    }
    // Coded once, not at each comparison of runs.
    let coded_columns = coded.iter().map(|name| column(name)).collect();
    let code = ScalarUDF::from(CodeOf::new(coded, code)).call(coded_columns).alias(CODE);
    let columns: Vec<Expr> = names.into_iter().map(column).chain([code]).collect();
    let mut order = vec![column(CODE).sort(true, false)];
    order.extend(sorting.then_greatest.iter().map(|name| column(name).sort(false, false)));
    let sorted = read(files).await?.select(columns).and_then(|rows| rows.sort(order));
    streamed(sorted.map_err(from_datafusion)?).await
}

async fn read(files: &[String]) -> Result<DataFrame> {
    // Rows that tie are the same: their order tells nothing.
    let options = SessionOptions { batch_size: BATCH_ROWS, ordered: false, ..SessionOptions::features(SORT_BYTES) };
    let session = Session::new(options)?;
    let context = session.context();
    {
        let state = context.state_ref();
        let mut state = state.write();
        let execution = &mut state.config_mut().options_mut().execution;
        execution.sort_spill_reservation_bytes = MERGE_BYTES;
        // They pass over NaN: a file of 5 and NaN would be read as 5 alone.
        execution.collect_statistics = false;
        execution.parquet.schema_force_view_types = false;
    }
    if let Some(file) = files.first() {
        register_store(context, &Location::parse(file, Path::new("/"))?);
    }
    context.read_parquet(files.to_vec(), ParquetReadOptions::default()).await.map_err(from_datafusion)
}

async fn streamed(rows: DataFrame) -> Result<FileRows> {
    let batches = rows.execute_stream().await.map_err(from_datafusion)?;
    Ok(FileRows { schema: batches.schema(), batches: batches.map_err(from_datafusion).boxed() })
}

/// A column by its exact name; `col` alone would fold it to lower case and split it at dots.
fn column(name: &str) -> Expr {
    col(Column::new_unqualified(name))
}

/// A [`Code`] as an SQL function.
struct CodeOf {
    columns: Vec<String>,
    code: Code,
    signature: Signature,
}

impl CodeOf {
    fn new(columns: &[String], code: &Code) -> Self {
        let signature = Signature::any(columns.len(), Volatility::Immutable);
        Self { columns: columns.to_vec(), code: Arc::clone(code), signature }
    }
}

impl fmt::Debug for CodeOf {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("CodeOf").field("columns", &self.columns).finish_non_exhaustive()
    }
}

impl PartialEq for CodeOf {
    fn eq(&self, other: &Self) -> bool {
        self.columns == other.columns && Arc::ptr_eq(&self.code, &other.code)
    }
}

impl Eq for CodeOf {}

impl Hash for CodeOf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.columns.hash(state);
    }
}

impl ScalarUDFImpl for CodeOf {
    fn name(&self) -> &str {
        "code_of"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> datafusion::error::Result<DataType> {
        Ok(DataType::Binary)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> datafusion::error::Result<ColumnarValue> {
        let mut arrays = Vec::with_capacity(self.columns.len());
        for column in &args.args {
            arrays.push(column.to_array(args.number_rows)?);
        }
        let field = |(name, array): (&String, &ArrayRef)| Field::new(name, array.data_type().clone(), true);
        let schema = Schema::new(self.columns.iter().zip(&arrays).map(field).collect::<Vec<_>>());
        let batch = RecordBatch::try_new(Arc::new(schema), arrays)?;
        let codes = (self.code)(&batch).map_err(|error| DataFusionError::External(error.into()))?;
        Ok(ColumnarValue::Array(Arc::new(codes)))
    }
}
