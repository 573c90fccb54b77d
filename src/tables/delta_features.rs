//! The reader features of the Delta protocol: which of them lakemill reads, and what to do about the
//! others.
//!
//! A feature that stands here as unreadable, or that does not stand here at all, is refused when the
//! table is pinned, by the name that its log gives it.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// What lakemill does with a table that needs a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Its rows are read.
    Read,
    /// Its rows are read; the feature says nothing about how.
    Harmless,
    /// It is refused: why, and what makes it readable (SQL of Spark or Databricks, on the table `t`).
    Refused {
        /// What stands in the way.
        why: &'static str,
        /// What the table's owner can do.
        remedy: &'static str,
    },
}

/// A feature of the Delta protocol that readers must know.
#[derive(Debug, Clone, Copy)]
pub struct ReaderFeature {
    /// As it stands in a log.
    pub name: &'static str,
    /// What is done with it.
    pub reading: Reading,
}

const fn read(name: &'static str) -> ReaderFeature {
    ReaderFeature { name, reading: Reading::Read }
}

const fn refused(name: &'static str, why: &'static str, remedy: &'static str) -> ReaderFeature {
    ReaderFeature { name, reading: Reading::Refused { why, remedy } }
}

const SHREDDED: &str = "variant values may lie in columns of their own";
const UNSHRED: &str =
    "ALTER TABLE t SET TBLPROPERTIES ('delta.enableVariantShredding' = 'false'), then ALTER TABLE t DROP FEATURE";
const CATALOG: &str = "its newest commits are known to its catalog only";
const LEAVE_CATALOG: &str =
    "copy it into a table that lies in files (CREATE TABLE c AS SELECT * FROM t), or ALTER TABLE t DROP FEATURE";
const GEO: &str = "geometries have no column type here";
const COPY_WITHOUT: &str = "copy it without those columns: CREATE TABLE c AS SELECT .. FROM t";

/// Every reader feature that is known.
pub static READER_FEATURES: &[ReaderFeature] = &[
    read("columnMapping"),
    read("deletionVectors"),
    read("timestampNtz"),
    // The name in tables of an early preview.
    read("timestampWithoutTimezone"),
    read("typeWidening"),
    read("typeWidening-preview"),
    read("v2Checkpoint"),
    read("variantType"),
    read("variantType-preview"),
    ReaderFeature { name: "vacuumProtocolCheck", reading: Reading::Harmless },
    refused("variantShredding", SHREDDED, UNSHRED),
    refused("variantShredding-preview", SHREDDED, UNSHRED),
    refused("catalogManaged", CATALOG, LEAVE_CATALOG),
    refused("catalogOwned-preview", CATALOG, LEAVE_CATALOG),
    refused("geospatial", GEO, COPY_WITHOUT),
    refused("timestampNanos", "timestamps here count microseconds", COPY_WITHOUT),
    refused(
        "adaptiveMetadata-preview",
        "its files are listed in Iceberg's form",
        "copy it: CREATE TABLE c AS SELECT * FROM t",
    ),
];

/// Features that deltalake itself refuses although its kernel reads their files.
const TAKEN_OUT: &[&str] = &["vacuumProtocolCheck", "typeWidening", "typeWidening-preview"];

/// The newest version of the reader's protocol that is known.
const NEWEST_READER: i32 = 3;

/// The protocol action of a log: what a reader and a writer must know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Protocol {
    /// 1, 2 (column mapping) or 3 (named features).
    pub min_reader_version: i32,
    /// 1 to 6, or 7 (named features).
    pub min_writer_version: i32,
    /// Named by version 3 only.
    pub reader_features: Option<Vec<String>>,
    /// Named by version 7 only.
    pub writer_features: Option<Vec<String>>,
}

impl Protocol {
    /// Copies deltalake's own, by the form in which both stand in a log.
    ///
    /// # Errors
    /// Where the two forms have gone apart.
    pub(super) fn of(protocol: &impl Serialize) -> Result<Self> {
        serde_json::to_value(protocol)
            .and_then(serde_json::from_value)
            .map_err(|source| Error::failed("the table's protocol cannot be understood").because(source))
    }

    /// The features that a reader must know, by name.
    pub fn needed(&self) -> Vec<&str> {
        match self.min_reader_version {
            2 => vec!["columnMapping"],
            3.. => self.reader_features.iter().flatten().map(String::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// Refuses what cannot be read, naming all features that stand in the way.
    ///
    /// # Errors
    /// A usage error with the names, the reason and the remedy.
    pub fn check(&self) -> Result<()> {
        if !(1..=NEWEST_READER).contains(&self.min_reader_version) {
            return Err(Error::usage(format!(
                "the table needs version {} of Delta's reader protocol; lakemill reads 1 to {NEWEST_READER}",
                self.min_reader_version
            ))
            .hint("copy it with the engine that wrote it: CREATE TABLE c AS SELECT * FROM t"));
        }
        let unreadable: Vec<(&str, Option<Reading>)> = self
            .needed()
            .into_iter()
            .map(|name| (name, reading(name)))
            .filter(|(_, reading)| !matches!(reading, Some(Reading::Read | Reading::Harmless)))
            .collect();
        let Some((first, reading)) = unreadable.first() else { return Ok(()) };
        let names: Vec<String> = unreadable.iter().map(|(name, _)| format!("`{name}`")).collect();
        let plural = if names.len() > 1 { "features" } else { "feature" };
        let names = names.join(", ");
        Err(match reading {
            Some(Reading::Refused { why, remedy }) => {
                let remedy = match remedy.strip_suffix("DROP FEATURE") {
                    Some(start) => format!("{start}DROP FEATURE '{first}'"),
                    None => (*remedy).to_owned(),
                };
                Error::usage(format!(
                    "the table needs the Delta reader {plural} {names}, which lakemill cannot read: {why}"
                ))
                .hint(format!("in the table's own engine: {remedy}"))
            }
            _ => Error::usage(format!("the table needs the Delta reader {plural} {names}, unknown to lakemill")).hint(
                format!(
                    "in the table's own engine: ALTER TABLE t DROP FEATURE '{first}'; \
                     or read a version from before it was switched on"
                ),
            ),
        })
    }

    /// The protocol without the features that deltalake would refuse for no reason that concerns
    /// reading, where there are any.
    pub(super) fn for_deltalake(&self) -> Option<Self> {
        if self.min_reader_version != NEWEST_READER || !self.needed().iter().any(|name| TAKEN_OUT.contains(name)) {
            return None;
        }
        let kept = |features: &Option<Vec<String>>| {
            let features = features.as_ref()?.iter().filter(|name| !TAKEN_OUT.contains(&name.as_str()));
            Some(features.cloned().collect::<Vec<_>>())
        };
        let (reader_features, writer_features) = (kept(&self.reader_features), kept(&self.writer_features));
        Some(Self { reader_features, writer_features, ..self.clone() })
    }
}

/// What is done with the feature of that name; nothing is known of others.
pub fn reading(name: &str) -> Option<Reading> {
    READER_FEATURES.iter().find(|feature| feature.name == name).map(|feature| feature.reading)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(features: &[&str]) -> Protocol {
        let features: Vec<String> = features.iter().map(|name| (*name).to_owned()).collect();
        Protocol {
            min_reader_version: 3,
            min_writer_version: 7,
            reader_features: Some(features.clone()),
            writer_features: Some(features),
        }
    }

    #[test]
    fn what_is_read_passes() {
        let readable = READER_FEATURES.iter().filter(|feature| !matches!(feature.reading, Reading::Refused { .. }));
        needs(&readable.map(|feature| feature.name).collect::<Vec<_>>()).check().unwrap();
        for version in 1..=2 {
            Protocol { min_reader_version: version, ..Protocol::default() }.check().unwrap();
        }
    }

    #[test]
    fn what_is_not_read_is_named_with_a_remedy() {
        for feature in READER_FEATURES {
            if let Reading::Refused { why, .. } = feature.reading {
                let error = needs(&["deletionVectors", feature.name]).check().unwrap_err();
                assert!(error.message().contains(&format!("`{}`", feature.name)), "{error}");
                assert!(error.message().contains(why), "{error}");
                assert!(!error.message().contains("deletionVectors"), "{error}");
                assert!(error.hint_text().is_some_and(|hint| hint.contains("TABLE")), "{error:?}");
            }
        }
        let error = needs(&["brandNew", "geospatial"]).check().unwrap_err();
        assert!(error.message().contains("`brandNew`, `geospatial`"), "{error}");
        assert!(error.hint_text().is_some_and(|hint| hint.contains("DROP FEATURE 'brandNew'")), "{error:?}");
        let error = Protocol { min_reader_version: 4, ..Protocol::default() }.check().unwrap_err();
        assert!(error.message().contains("version 4"), "{error}");
    }

    #[test]
    fn deltalake_is_not_asked_about_what_does_not_concern_it() {
        let needed = needs(&["vacuumProtocolCheck", "deletionVectors"]);
        assert_eq!(needed.for_deltalake().unwrap().needed(), ["deletionVectors"]);
        assert_eq!(needs(&["deletionVectors"]).for_deltalake(), None);
        assert_eq!(Protocol { min_reader_version: 2, ..Protocol::default() }.for_deltalake(), None);
    }
}
