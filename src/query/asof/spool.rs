//! Batches that wait for their joined columns: in memory, and on disk from a limit on.

use super::candidates::compact;
use crate::error::{Error, Result};
use crate::query::ahead::own_bytes;
use crate::tables::errors::from_datafusion;
use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use datafusion::execution::SpillFile;
use datafusion::execution::runtime_env::RuntimeEnv;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter};
use std::sync::Arc;

type Writer = StreamWriter<BufWriter<File>>;
type Reader = StreamReader<BufReader<File>>;

/// Batches on their way in.
pub(super) struct Spool {
    runtime: Arc<RuntimeEnv>,
    limit: usize,
    bytes: usize,
    held: VecDeque<RecordBatch>,
    spilled: Option<(Arc<dyn SpillFile>, Writer)>,
}

/// The same batches on their way out, in the same order.
pub(super) struct Spooled {
    held: VecDeque<RecordBatch>,
    spilled: Option<(Arc<dyn SpillFile>, Reader)>,
}

impl Spool {
    /// Keeps up to `limit` bytes in memory.
    pub(super) fn new(runtime: &Arc<RuntimeEnv>, limit: usize) -> Self {
        Self { runtime: Arc::clone(runtime), limit, bytes: 0, held: VecDeque::new(), spilled: None }
    }

    /// Adds a batch at the end.
    ///
    /// # Errors
    /// Where it has to be spilled and there is no space.
    pub(super) fn push(&mut self, batch: RecordBatch) -> Result<()> {
        self.bytes += own_bytes(&batch);
        if self.spilled.is_none() && self.bytes <= self.limit {
            self.held.push_back(batch);
            return Ok(());
        }
        if self.spilled.is_none() {
            let file =
                self.runtime.disk_manager.create_tmp_file("rows of a point-in-time join").map_err(from_datafusion)?;
            let opened = open(file.as_ref(), File::options().write(true))?;
            let writer = StreamWriter::try_new_buffered(opened, &batch.schema()).map_err(unspilled)?;
            self.spilled = Some((file, writer));
        }
        // Views would take whole buffers with them, of which other batches write parts too.
        let columns = batch.columns().iter().map(|column| compact(Arc::clone(column))).collect();
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(batch.schema(), columns, &options).map_err(unspilled)?;
        match &mut self.spilled {
            Some((_, writer)) => writer.write(&batch).map_err(unspilled),
            None => Ok(()),
        }
    }

    /// All batches from the first on.
    ///
    /// # Errors
    /// Where the spilled ones cannot be written or read.
    pub(super) fn finish(self) -> Result<Spooled> {
        let spilled = match self.spilled {
            None => None,
            Some((file, mut writer)) => {
                writer.finish().map_err(unspilled)?;
                drop(writer);
                let opened = open(file.as_ref(), File::options().read(true))?;
                Some((file, StreamReader::try_new_buffered(opened, None).map_err(unspilled)?))
            }
        };
        Ok(Spooled { held: self.held, spilled })
    }
}

impl Spooled {
    /// The next batch.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub(super) fn next(&mut self) -> Result<Option<RecordBatch>> {
        if let Some(batch) = self.held.pop_front() {
            return Ok(Some(batch));
        }
        match &mut self.spilled {
            Some((_, reader)) => reader.next().transpose().map_err(unspilled),
            None => Ok(None),
        }
    }
}

fn open(file: &dyn SpillFile, how: &OpenOptions) -> Result<File> {
    let path = file.path().ok_or_else(|| Error::failed("the spill folder is not on a local disk"))?;
    how.open(path).map_err(|source| Error::failed("a spill file cannot be opened").because(source))
}

fn unspilled(source: arrow::error::ArrowError) -> Error {
    Error::failed("rows cannot be spilled or read back")
        .because(source)
        .hint("is there space in the system's temporary folder?")
}
