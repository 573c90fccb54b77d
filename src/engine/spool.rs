//! Rows put aside for further passes: in memory, and from a limit on in a temporary file that has no name, so
//! that a crash leaves nothing.

use super::dataset::uncut;
use crate::error::{Error, Result};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::DataType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use std::fs::File;
use std::io::{BufReader, BufWriter, Seek, SeekFrom};
use std::sync::Arc;

/// How many batches a reader is given at once, to be worked on side by side.
const TOGETHER: usize = 16;

/// Bytes that are read or written at once.
const BUFFER: usize = 1 << 20;

type Writer = StreamWriter<BufWriter<File>>;

/// Batches on their way in.
pub struct Spool {
    limit: usize,
    bytes: usize,
    held: Vec<RecordBatch>,
    file: Option<Writer>,
}

/// The same batches, to be read as often as wanted, in the same order.
pub struct Spooled {
    held: Vec<RecordBatch>,
    file: Option<File>,
}

impl Spool {
    /// Keeps up to `limit` bytes in memory.
    pub fn new(limit: usize) -> Self {
        Self { limit, bytes: 0, held: Vec::new(), file: None }
    }

    /// Adds a batch at the end. Blocks where it goes to the file.
    ///
    /// # Errors
    /// `failed` where the temporary folder takes no more.
    pub fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        let columns = batch.columns().iter().map(compact).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(batch.schema(), columns, &options).map_err(uncut)?;
        let sizes = batch.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or_default());
        self.bytes += sizes.sum::<usize>();
        if self.file.is_none() && self.bytes <= self.limit {
            self.held.push(batch);
            return Ok(());
        }
        let writer = match &mut self.file {
            Some(writer) => writer,
            None => {
                let file = BufWriter::with_capacity(BUFFER, tempfile::tempfile().map_err(aside)?);
                self.file.insert(StreamWriter::try_new(file, &batch.schema()).map_err(aside)?)
            }
        };
        writer.write(&batch).map_err(aside)
    }

    /// All of it.
    ///
    /// # Errors
    /// `failed` where the temporary folder takes no more.
    pub fn finish(self) -> Result<Spooled> {
        let file = match self.file {
            None => None,
            Some(mut writer) => {
                writer.finish().map_err(aside)?;
                let buffer = writer.into_inner().map_err(aside)?;
                Some(buffer.into_inner().map_err(|error| aside(error.into_error()))?)
            }
        };
        Ok(Spooled { held: self.held, file })
    }
}

impl Spooled {
    /// Gives all batches to `work`, a few at a time, in order. Blocks.
    ///
    /// # Errors
    /// Those of `work`; `failed` where the file can't be read.
    pub fn each(&mut self, mut work: impl FnMut(&[RecordBatch]) -> Result<()>) -> Result<()> {
        for batches in self.held.chunks(TOGETHER) {
            work(batches)?;
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        file.seek(SeekFrom::Start(0)).map_err(aside)?;
        let mut reader = StreamReader::try_new(BufReader::with_capacity(BUFFER, &mut *file), None).map_err(aside)?;
        loop {
            let batches: Vec<RecordBatch> = reader.by_ref().take(TOGETHER).collect::<Result<_, _>>().map_err(aside)?;
            if batches.is_empty() {
                return Ok(());
            }
            work(&batches)?;
        }
    }
}

/// Views would take whole buffers with them, of which other batches have parts too.
fn compact(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Utf8View => Arc::new(column.as_string_view().gc()),
        DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
        _ => Arc::clone(column),
    }
}

fn aside(source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::failed("could not put rows aside in the temporary folder")
        .because(source)
        .hint("make room there, or set TMPDIR to a folder with more")
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{DictionaryArray, Int64Array, StringViewArray};
    use arrow::datatypes::Int8Type;

    fn batch(start: i64) -> RecordBatch {
        let texts = ["a", "a text of more than twelve bytes"];
        let of = |row: i64| texts[(row % 2) as usize];
        let view = StringViewArray::from_iter((start..start + 100).map(|row| (row % 7 != 0).then(|| of(row))));
        let dictionary: DictionaryArray<Int8Type> = (start..start + 100).map(|row| Some(of(row + start))).collect();
        let columns: [(&str, ArrayRef); 3] = [
            ("number", Arc::new(Int64Array::from_iter_values(start..start + 100))),
            ("view", Arc::new(view)),
            ("dictionary", Arc::new(dictionary)),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
    }

    #[test]
    fn what_is_put_aside_comes_back_as_often_as_wanted() {
        let batches: Vec<RecordBatch> = (0..40).map(|number| batch(number * 100).slice(3, 90)).collect();
        for limit in [0, 20_000, usize::MAX] {
            let mut spool = Spool::new(limit);
            batches.iter().for_each(|batch| spool.push(batch).unwrap());
            assert_eq!(spool.file.is_some(), limit < usize::MAX);
            assert_eq!(spool.held.is_empty(), limit == 0);
            let mut spooled = spool.finish().unwrap();
            for _ in 0..2 {
                let mut found = Vec::new();
                spooled
                    .each(|some| {
                        assert!(some.len() <= TOGETHER);
                        found.extend_from_slice(some);
                        Ok(())
                    })
                    .unwrap();
                assert_eq!(found, batches);
            }
        }
    }

    #[test]
    fn nothing_is_put_aside_and_nothing_comes_back() {
        let mut spooled = Spool::new(0).finish().unwrap();
        spooled.each(|_| Err(Error::failed("called"))).unwrap();
    }
}
