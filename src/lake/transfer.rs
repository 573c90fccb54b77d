//! Large files between this machine and a store, part by part: memory does not grow with the file.

use super::errors::from_store;
use super::location::Location;
use crate::error::{Error, Result, ResultExt};
use futures::TryStreamExt;
use object_store::{ObjectStoreExt, WriteMultipart};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

/// Bytes of a part; S3 takes none below 5 MiB, and 10,000 of them.
const PART_BYTES: usize = 16 << 20;
/// Parts under way at once.
const CONCURRENT_PARTS: usize = 4;

impl Location {
    /// Writes a file of this machine here, over an object that may be there; it is visible once it is
    /// whole. Reads the file in place: call it where blocking is fine.
    ///
    /// # Errors
    /// What the store fails with; `failed` where the file can't be read.
    pub async fn upload(&self, file: &Path) -> Result<()> {
        let unreadable = |source| Error::failed("could not read a file").with("file", file.display()).because(source);
        let unwritable = |source| from_store("write", source).with("location", self);
        let mut from = File::open(file).map_err(unreadable)?;
        let mut part = Vec::new();
        read_part(&mut from, &mut part).map_err(unreadable)?;
        if part.len() < PART_BYTES {
            return self.put(part.into()).await;
        }
        let store = self.store();
        let upload = store.put_multipart(self.path()).await.map_err(unwritable)?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        while !part.is_empty() {
            upload.wait_for_capacity(CONCURRENT_PARTS).await.map_err(unwritable)?;
            upload.put(std::mem::take(&mut part).into());
            read_part(&mut from, &mut part).map_err(unreadable)?;
        }
        upload.finish().await.map(drop).map_err(unwritable)
    }

    /// Writes the object's bytes to `to`; `false` where there is no object.
    ///
    /// # Errors
    /// What the store fails with; `failed` where the bytes can't be written.
    pub async fn download(&self, to: &mut (dyn Write + Send)) -> Result<bool> {
        let unreadable = |source| from_store("read", source).with("location", self);
        let object = match self.store().get(self.path()).await {
            Ok(object) => object,
            Err(source) if super::errors::is_absent(&source) => return Ok(false),
            Err(source) => return Err(unreadable(source)),
        };
        let mut parts = object.into_stream();
        while let Some(part) = parts.try_next().await.map_err(unreadable)? {
            to.write_all(&part)
                .map_err(|source| Error::failed("could not write what was fetched").because(source))
                .at("location", self)?;
        }
        Ok(true)
    }
}

fn read_part(from: &mut File, part: &mut Vec<u8>) -> std::io::Result<()> {
    part.reserve_exact(PART_BYTES);
    Read::by_ref(from).take(PART_BYTES as u64).read_to_end(part).map(drop)
}
