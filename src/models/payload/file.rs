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
    pub fn i32s(&mut self) -> Result<&'a [[u8; 4]]> {
        self.numbers(Some(self.rows), Some(self.rows))
    }

    /// The next column, of lists of 32-bit numbers.
    pub fn u32_lists(&mut self) -> Result<Lists<'a, 4>> {
        self.lists()
    }

    /// The next column, of lists of `f64`.
    pub fn f64_lists(&mut self) -> Result<Lists<'a, 8>> {
        self.lists()
    }

    fn lists<const N: usize>(&mut self) -> Result<Lists<'a, N>> {
        let count = self.rows.checked_add(1).ok_or_else(|| broken("it has too many rows"))?;
        let offsets: &[[u8; 4]] = self.numbers(Some(self.rows), Some(count))?;
        let values = self.numbers(None, None)?;
        // Lists that follow each other cannot be larger than the file, however often it says so.
        let ordered = offsets.is_sorted_by_key(|offset| i32::from_le_bytes(*offset));
        let last = offsets.last().and_then(|last| usize::try_from(i32::from_le_bytes(*last)).ok());
        if !ordered || offsets.first() != Some(&[0; 4]) || last.is_none_or(|last| last > values.len()) {
            return Err(broken("a list lies outside its values"));
        }
        Ok(Lists { offsets, values })
    }

    /// The second buffer of the next node, after that of nulls; `None` takes the count of the node.
    fn numbers<const N: usize>(&mut self, length: Option<usize>, count: Option<usize>) -> Result<&'a [[u8; N]]> {
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
        Ok(wanted.as_chunks::<N>().0)
    }
}

/// The lists of a column where they stand in the file: stretches of one array of little-endian numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lists<'a, const N: usize> {
    /// Where each list begins and the last one ends; checked: from 0 on, ascending, inside the values.
    offsets: &'a [[u8; 4]],
    values: &'a [[u8; N]],
}

impl<'a, const N: usize> Lists<'a, N> {
    /// How many lists.
    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// The list of this number, below [`len`](Self::len).
    pub fn get(&self, index: usize) -> &'a [[u8; N]] {
        let at = |index: usize| i32::from_le_bytes(self.offsets[index]) as usize;
        &self.values[at(index)..at(index + 1)]
    }
}
