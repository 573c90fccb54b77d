//! What a physical plan will read: its file scans after partitions and files were ruled out.

use crate::tables::PinnedTable;
use datafusion::common::stats::Precision;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::ExecutionPlan;
use serde::Serialize;

/// What a query will read from one table. Row groups that are skipped while reading still count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScanEstimate {
    /// The table's name in SQL.
    pub table: String,
    /// Data files to be opened; a file that is read twice counts twice.
    pub files: u64,
    /// Data files of the table at that version.
    pub files_total: u64,
    /// Size of the files to be opened, in bytes.
    pub bytes: u64,
    /// Rows in the files to be opened, where every file's metadata tells.
    pub rows: Option<u64>,
}

/// One entry a table, in the order of `tables`; a table that the query does not read has zero files.
pub(super) fn estimate(plan: &dyn ExecutionPlan, tables: &[PinnedTable]) -> Vec<ScanEstimate> {
    let mut estimates: Vec<ScanEstimate> = tables
        .iter()
        .map(|table| ScanEstimate {
            table: table.name.clone(),
            files: 0,
            files_total: table.files,
            bytes: 0,
            rows: Some(0),
        })
        .collect();
    add(plan, tables, &mut estimates);
    estimates
}

fn add(plan: &dyn ExecutionPlan, tables: &[PinnedTable], estimates: &mut [ScanEstimate]) {
    let scan =
        plan.downcast_ref::<DataSourceExec>().and_then(|exec| exec.data_source().downcast_ref::<FileScanConfig>());
    if let Some(scan) = scan {
        for file in scan.file_groups.iter().flat_map(|group| group.iter()) {
            // The innermost folder wins where one table lies inside another.
            let owner = (0..tables.len())
                .filter(|index| tables[*index].holds(&file.object_meta.location))
                .max_by_key(|index| (tables[*index].location.len(), usize::MAX - index));
            let Some(estimate) = owner.map(|index| &mut estimates[index]) else { continue };
            estimate.files += 1;
            estimate.bytes += file
                .range
                .as_ref()
                .map_or(file.object_meta.size, |range| u64::try_from(range.end - range.start).unwrap_or_default());
            let rows = match file.statistics.as_ref().map(|statistics| statistics.num_rows) {
                Some(Precision::Exact(rows)) => Some(rows as u64),
                _ => None,
            };
            estimate.rows = estimate.rows.zip(rows).map(|(sum, rows)| sum + rows);
        }
    }
    for child in plan.children() {
        add(child.as_ref(), tables, estimates);
    }
}
