//! Reads the Arrow IPC files of [`super::encode`] and refuses every other one, without a panic.
//!
//! The layout is that of the [Arrow columnar format](https://arrow.apache.org/docs/format/Columnar.html#ipc-file-format):
//! a footer that names the record batch, a message before the batch that names its buffers, and the
//! buffers. flatbuffers verifies footer and message; offsets into the file are checked here.

use crate::error::{Error, Result};
use arrow::ipc::{Block, Footer, MessageHeader, RecordBatch, root_as_footer, root_as_message};

const MAGIC: &[u8] = b"ARROW1";
/// Magic and the footer's length at the end of the file.
const TRAILER: usize = 10;
const CONTINUATION: [u8; 4] = [0xff; 4];

/// The kinds of columns that predictors have; none may be null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    I32,
    ListU32,
    ListF64,
}

/// A verification error for bytes that are no predictor.
pub(super) fn broken(what: &str) -> Error {
    Error::verification(format!("not a predictor: {what}"))
}

/// A file whose footer was verified.
pub(super) struct File<'a> {
    bytes: &'a [u8],
    footer: Footer<'a>,
}

/// Finds and verifies the footer.
pub(super) fn open(bytes: &[u8]) -> Result<File<'_>> {
    let sound = bytes.starts_with(MAGIC) && bytes.ends_with(MAGIC) && bytes.len() >= TRAILER + 8;
    let trailer = bytes.len().saturating_sub(TRAILER);
    if !sound {
        return Err(broken("it is not a complete Arrow file"));
    }
    let length = whole(&bytes[trailer..trailer + 4]).and_then(|length| usize::try_from(length).ok());
    let start = length.and_then(|length| trailer.checked_sub(length)).ok_or_else(|| broken("its footer is cut off"))?;
    let footer = root_as_footer(&bytes[start..trailer])
        .map_err(|reason| broken("its footer is malformed").because(std::io::Error::other(reason.to_string())))?;
    Ok(File { bytes, footer })
}

fn whole(bytes: &[u8]) -> Option<i32> {
    bytes.try_into().ok().map(i32::from_le_bytes)
}

impl<'a> File<'a> {
    /// The footer's text under a key.
    pub fn metadata(&self, key: &str) -> Result<&'a str> {
        let found = self.footer.custom_metadata().and_then(|pairs| pairs.iter().find(|pair| pair.key() == Some(key)));
        found.and_then(|pair| pair.value()).ok_or_else(|| broken("it has no header of ours"))
    }

    /// The columns of the only record batch, which must have these names.
    pub fn columns(&self, expected: &[(&str, Column)]) -> Result<Columns<'a>> {
        let fields = self.footer.schema().and_then(|schema| schema.fields());
        let names: Vec<&str> = fields.into_iter().flatten().filter_map(|field| field.name()).collect();
        if !names.iter().eq(expected.iter().map(|(name, _)| name)) {
            return Err(broken("its columns have other names"));
        }
        let blocks = self.footer.recordBatches().filter(|blocks| blocks.len() == 1);
        let block = blocks.map(|blocks| *blocks.get(0)).ok_or_else(|| broken("it has not one record batch"))?;
        let (batch, body) = self.batch(&block)?;
        if batch.compression().is_some() {
            return Err(broken("it is compressed"));
        }
        let rows = usize::try_from(batch.length()).map_err(|_| broken("its length is below 0"))?;
        Ok(Columns { batch, body, rows, node: 0, buffer: 0 })
    }

    fn batch(&self, block: &Block) -> Result<(RecordBatch<'a>, &'a [u8])> {
        let outside = || broken("its record batch lies outside the file");
        let message = part(self.bytes, block.offset(), i64::from(block.metaDataLength())).ok_or_else(outside)?;
        let after = block.offset().checked_add(i64::from(block.metaDataLength())).ok_or_else(outside)?;
        let body = part(self.bytes, after, block.bodyLength()).ok_or_else(outside)?;
        // The flatbuffer follows its length, and that follows the continuation mark.
        let flat = message
            .strip_prefix(&CONTINUATION)
            .and_then(|rest| rest.get(4..))
            .ok_or_else(|| broken("its record batch has no message"))?;
        let message = root_as_message(flat)
            .map_err(|reason| broken("its message is malformed").because(std::io::Error::other(reason.to_string())))?;
        if message.header_type() != MessageHeader::RecordBatch {
            return Err(broken("its message is no record batch"));
        }
        let batch = message.header_as_record_batch().ok_or_else(|| broken("its record batch is empty"))?;
        Ok((batch, body))
    }
}

/// A stretch of bytes, if it lies inside.
fn part(bytes: &[u8], offset: i64, length: i64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(length).ok()?)?;
    bytes.get(start..end)
}

/// The columns of a record batch, read one after the other.
pub(super) struct Columns<'a> {
    batch: RecordBatch<'a>,
    body: &'a [u8],
    rows: usize,
    node: usize,
    buffer: usize,
}

impl<'a> Columns<'a> {
    /// The next column, of 32-bit numbers.
    pub fn i32s(&mut self) -> Result<Vec<i32>> {
        self.values(Some(self.rows), i32::from_le_bytes)
    }

    /// The next column, of lists.
    pub fn u32_lists(&mut self) -> Result<Vec<Vec<u32>>> {
        self.lists(u32::from_le_bytes)
    }

    /// The next column, of lists.
    pub fn f64_lists(&mut self) -> Result<Vec<Vec<f64>>> {
        self.lists(f64::from_le_bytes)
    }

    fn lists<T: Copy, const N: usize>(&mut self, convert: fn([u8; N]) -> T) -> Result<Vec<Vec<T>>> {
        let offsets = self.offsets()?;
        let values = self.values(None, convert)?;
        let list = |pair: &[i32]| {
            let start = usize::try_from(pair[0]).ok()?;
            let end = usize::try_from(pair[1]).ok()?;
            values.get(start..end).map(<[T]>::to_vec)
        };
        // Lists that follow each other cannot be larger than the file, however often it says so.
        let ordered = offsets.first() == Some(&0) && offsets.is_sorted();
        let lists: Option<Vec<Vec<T>>> = offsets.windows(2).map(list).collect();
        lists.filter(|_| ordered).ok_or_else(|| broken("a list lies outside its values"))
    }

    /// The offsets of a list column: one more than rows.
    fn offsets(&mut self) -> Result<Vec<i32>> {
        let count = self.rows.checked_add(1).ok_or_else(|| broken("it has too many rows"))?;
        self.numbers(Some(self.rows), Some(count), i32::from_le_bytes)
    }

    fn values<T, const N: usize>(&mut self, rows: Option<usize>, convert: fn([u8; N]) -> T) -> Result<Vec<T>> {
        self.numbers(rows, rows, convert)
    }

    /// The second buffer of the next node, after that of nulls; `None` takes the count of the node.
    fn numbers<T, const N: usize>(
        &mut self,
        length: Option<usize>,
        count: Option<usize>,
        convert: fn([u8; N]) -> T,
    ) -> Result<Vec<T>> {
        let nodes = self.batch.nodes().filter(|nodes| self.node < nodes.len());
        let node = nodes.map(|nodes| *nodes.get(self.node)).ok_or_else(|| broken("a column is missing"))?;
        let own = usize::try_from(node.length()).map_err(|_| broken("a column's length is below 0"))?;
        if node.null_count() != 0 || length.is_some_and(|length| length != own) {
            return Err(broken("a column has nulls or another length"));
        }
        let buffers = self.batch.buffers().filter(|buffers| self.buffer + 1 < buffers.len());
        let buffer =
            buffers.map(|buffers| *buffers.get(self.buffer + 1)).ok_or_else(|| broken("a buffer is missing"))?;
        (self.node, self.buffer) = (self.node + 1, self.buffer + 2);
        let bytes = part(self.body, buffer.offset(), buffer.length()).ok_or_else(|| broken("a buffer lies outside"))?;
        let wanted = count.unwrap_or(own).checked_mul(N).and_then(|length| bytes.get(..length));
        let wanted = wanted.ok_or_else(|| broken("a buffer is too short"))?;
        let (chunks, _) = wanted.as_chunks::<N>();
        Ok(chunks.iter().map(|chunk| convert(*chunk)).collect())
    }
}
