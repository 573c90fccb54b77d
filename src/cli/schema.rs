//! `lakemill schema`: the JSON Schema of the job file, for editors and for CI.

use super::Session;
use super::job::vocabulary;
use crate::error::{Error, Result};
use crate::job::job_schema_with;

pub(super) fn run(session: &Session) -> Result<()> {
    let schema = job_schema_with(&vocabulary().algorithms);
    let pretty = serde_json::to_string_pretty(&schema)
        .map_err(|source| Error::failed("could not write the schema as JSON").because(source))?;
    session.ui.show(&schema, || pretty)
}
