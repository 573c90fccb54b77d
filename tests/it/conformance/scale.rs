//! A log of 300,000 files.
