//! Where the bytes of a binned matrix lie: in memory while they are few, else in a temporary file that has no
//! name (a crash leaves nothing) and is mapped into memory once it is written.

use crate::error::{Error, Result};
use memmap2::Mmap;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};

/// A matrix of bytes, column after column, on its way in.
pub struct MatrixWriter {
    rows: usize,
    bytes: Bytes,
}

enum Bytes {
    Memory(Vec<u8>),
    File(File),
}

/// The bytes of a whole matrix.
pub enum MatrixBytes {
    /// In memory.
    Memory(Vec<u8>),
    /// In a file, which the system reads and drops as memory allows.
    Mapped(Mmap),
}

impl AsRef<[u8]> for MatrixBytes {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Memory(bytes) => bytes,
            Self::Mapped(bytes) => bytes,
        }
    }
}

impl MatrixWriter {
    /// A matrix of zeros, in memory if it takes at most `in_memory` bytes.
    ///
    /// # Errors
    /// `failed` where the temporary folder can't be used.
    pub fn new(rows: usize, columns: usize, in_memory: usize) -> Result<Self> {
        let size = rows.checked_mul(columns).ok_or_else(|| Error::failed("a binned matrix of too many bytes"))?;
        let bytes = if size <= in_memory {
            Bytes::Memory(vec![0; size])
        } else {
            Bytes::File(tempfile::tempfile().map_err(aside)?)
        };
        Ok(Self { rows, bytes })
    }

    /// Writes some rows of a column, from row `first` on.
    ///
    /// Into the file by writing, not through a mapping: where the disk is full, that is an error and no signal.
    ///
    /// # Errors
    /// `failed` where the temporary folder takes no more.
    pub fn write(&mut self, column: usize, first: usize, values: &[u8]) -> Result<()> {
        let start = column * self.rows + first;
        match &mut self.bytes {
            Bytes::Memory(bytes) => bytes[start..start + values.len()].copy_from_slice(values),
            Bytes::File(file) => {
                file.seek(SeekFrom::Start(start as u64)).map_err(aside)?;
                file.write_all(values).map_err(aside)?;
            }
        }
        Ok(())
    }

    /// The whole matrix; every row of every column has been written.
    ///
    /// # Errors
    /// `failed` where the file can't be mapped.
    pub fn finish(self) -> Result<MatrixBytes> {
        match self.bytes {
            Bytes::Memory(bytes) => Ok(MatrixBytes::Memory(bytes)),
            Bytes::File(file) => {
                // SAFETY: the file has no name and this is its only handle, so nobody can write to it or cut it
                // off while it is mapped; the mapping keeps it alive and is never written through.
                let mapped = unsafe { Mmap::map(&file) };
                mapped.map(MatrixBytes::Mapped).map_err(aside)
            }
        }
    }
}

fn aside(source: std::io::Error) -> Error {
    Error::failed("could not put the binned features aside in the temporary folder")
        .because(source)
        .hint("make room there, or set TMPDIR to a folder with more")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_is_the_same_in_memory_and_in_a_file() {
        let filled = |in_memory| {
            let mut matrix = MatrixWriter::new(1000, 3, in_memory).unwrap();
            for first in (0..1000).step_by(300) {
                for column in 0..3u8 {
                    let rows: Vec<u8> = (first..1000.min(first + 300)).map(|row| row as u8 ^ column).collect();
                    matrix.write(column.into(), first, &rows).unwrap();
                }
            }
            matrix.finish().unwrap()
        };
        let (memory, mapped) = (filled(3000), filled(2999));
        assert!(matches!(memory, MatrixBytes::Memory(_)) && matches!(mapped, MatrixBytes::Mapped(_)));
        assert_eq!(memory.as_ref(), mapped.as_ref());
        assert_eq!(mapped.as_ref()[2 * 1000 + 500], 500u16 as u8 ^ 2);
    }
}
