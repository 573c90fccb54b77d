//! Which file made a scan fail: DataFusion's decoding errors do not say.
//!
//! Where a query's rows end in an error of the Parquet library that names no file, the files that the
//! plan reads are read once more, one by one, until one fails in itself. That costs what the query has
//! cost so far, and only a query that has failed pays for it.

use crate::error::ErrorKind;
use crate::tables::errors::from_datafusion;
use crate::tables::guard::{guarded, guarded_stream};
use arrow::datatypes::SchemaRef;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::{StreamExt, TryStreamExt};
use std::sync::Arc;

/// The rows of `plan`; an error names the file, and a reader that panics on damaged bytes is an error.
///
/// # Errors
/// Where the first files cannot be opened.
pub(super) fn stream(plan: &Arc<dyn ExecutionPlan>, context: &Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
    let schema: SchemaRef = plan.schema();
    let rows = execute_stream(Arc::clone(plan), Arc::clone(context))?;
    let rows = guarded_stream(rows);
    let (plan, context) = (Arc::clone(plan), Arc::clone(context));
    let named = rows.then(move |item| {
        let (plan, context) = (Arc::clone(&plan), Arc::clone(&context));
        async move {
            match item {
                Err(error) => Err(named(error, &plan, &context).await),
                batch => batch,
            }
        }
    });
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, named)))
}

/// The same error, with the file where it can be found.
async fn named(error: DataFusionError, plan: &Arc<dyn ExecutionPlan>, context: &Arc<TaskContext>) -> DataFusionError {
    const OF_A_FILE: &[&str] = &["Parquet", "Csv error", "Json error", "Invalid argument error"];
    let text = error.to_string();
    let told = from_datafusion(error);
    let unnamed = told.context().iter().all(|(key, _)| *key != "file");
    // Arithmetic on the data fails, too; no file is to blame for that.
    let of_a_file = told.kind() == ErrorKind::Failed || OF_A_FILE.iter().any(|mark| text.contains(mark));
    let culprit = if unnamed && of_a_file { culprit(plan, context).await } else { None };
    DataFusionError::External(Box::new(match culprit {
        Some(file) => told.with("file", file),
        None => told,
    }))
}

/// The first file that fails when it is read by itself.
pub(super) async fn culprit(plan: &Arc<dyn ExecutionPlan>, context: &Arc<TaskContext>) -> Option<String> {
    let mut scans = Vec::new();
    collect(plan, &mut scans);
    for config in scans {
        for file in config.file_groups.iter().flat_map(FileGroup::iter) {
            let alone = FileScanConfigBuilder::from(config.clone())
                .with_file_groups(vec![FileGroup::new(vec![file.clone()])])
                .build();
            let scan = DataSourceExec::from_data_source(alone);
            let read = async {
                let mut rows = execute_stream(scan, Arc::clone(context))?;
                while rows.try_next().await?.is_some() {}
                Ok::<_, DataFusionError>(())
            };
            if guarded(read).await.is_err() {
                return Some(file.object_meta.location.to_string());
            }
        }
    }
    None
}

fn collect(plan: &Arc<dyn ExecutionPlan>, scans: &mut Vec<FileScanConfig>) {
    let scan =
        plan.downcast_ref::<DataSourceExec>().and_then(|exec| exec.data_source().downcast_ref::<FileScanConfig>());
    scans.extend(scan.cloned());
    plan.children().into_iter().for_each(|child| collect(child, scans));
}
