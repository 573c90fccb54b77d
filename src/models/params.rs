//! From `[model.params]` as written to an algorithm's parameter struct.

use super::Params;
use crate::error::{Error, Result, did_you_mean};
use schemars::{JsonSchema, schema_for};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// An algorithm's parameters: typed by serde, ranges checked by [`check`](Self::check).
pub trait Checked: DeserializeOwned + JsonSchema {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// A usage error that names the parameter.
    fn check(&self) -> Result<()>;
}

/// Reads and checks the parameters of `algorithm`.
///
/// # Errors
/// A usage error for an unknown name (with the nearest one), a wrong type or a value out of range.
pub fn read<P: Checked>(algorithm: &'static str, params: &Params) -> Result<P> {
    parse(params)
        .and_then(|parsed: P| parsed.check().map(|()| parsed))
        .map_err(|error| error.with("algorithm", algorithm))
}

fn parse<P: Checked>(params: &Params) -> Result<P> {
    // A schema takes longer than a small fit's tree: it is made where something is wrong.
    serde_json::from_value(Value::Object(params.clone())).map_err(|reason| refused::<P>(params, reason))
}

/// Which of the parameters can't be read.
fn refused<P: Checked>(params: &Params, reason: serde_json::Error) -> Error {
    let schema = schema_for!(P);
    let known: Vec<&str> = match schema.get("properties").and_then(Value::as_object) {
        Some(properties) => properties.keys().map(String::as_str).collect(),
        None => Vec::new(),
    };
    for (name, value) in params {
        if !known.contains(&name.as_str()) {
            return unknown(name, &known);
        }
        // One parameter at a time: serde's message alone does not say which one is wrong.
        let alone = Params::from_iter([(name.clone(), value.clone())]);
        if let Err(reason) = serde_json::from_value::<P>(Value::Object(alone)) {
            return Error::usage(format!("wrong value: {reason}")).with("parameter", name);
        }
    }
    Error::usage("wrong parameters").because(reason)
}

fn unknown(name: &str, known: &[&str]) -> Error {
    let hint = match did_you_mean(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "it takes no parameters".to_owned(),
        None => format!("parameters are {}", known.join(", ")),
    };
    Error::usage("unknown parameter").with("parameter", name).hint(hint)
}

/// A usage error unless `holds`; `wanted` completes "must be ...".
pub(super) fn must(name: &'static str, value: impl std::fmt::Display, holds: bool, wanted: &str) -> Result<()> {
    if holds {
        return Ok(());
    }
    Err(Error::usage(format!("must be {wanted}")).with("parameter", name).with("value", value))
}
