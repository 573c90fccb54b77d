//! The job as text for fingerprints: the same job has the same text however it is written.
//!
//! Defaults are filled in, keys sorted, lengths and instants in their one form, and `${NAME}` as
//! written. What the SQL says is not in here: the caller adds the SQL itself.

use super::spec::JobSpec;
use serde_json::{Map, Value, json};

impl JobSpec {
    /// The whole job as canonical JSON.
    pub fn normalized_json(&self) -> String {
        canonical(&self.to_json())
    }

    /// What decides how a model turns out: features, vars, model, evaluation, and the columns that are carried
    /// beside the predictions, since these are no features. Not where tables lie, since their pinned versions are
    /// added by the caller, nor what else is done with predictions.
    pub fn training_json(&self) -> String {
        let job = self.to_json();
        let mut features = job["features"].clone();
        remove(&mut features, &["sql"]);
        let mut carried = self.score.passthrough.clone();
        carried.extend(self.lookup.iter().flat_map(|lookup| lookup.key.names().iter().cloned()));
        carried.sort_unstable();
        carried.dedup();
        canonical(&json!({
            "version": job["version"],
            "name": job["name"],
            "features": features,
            "vars": job["vars"],
            "model": job["model"],
            "evaluate": job["evaluate"],
            "carried": carried,
        }))
    }

    /// What decides how predictions turn out, the model and the tables apart: features, vars, the
    /// decision threshold, output and lookup.
    pub fn scoring_json(&self) -> String {
        let job = self.to_json();
        let mut features = job["features"].clone();
        remove(&mut features, &["sql", "label_delay"]);
        let mut lookup = job.get("lookup").cloned().unwrap_or(Value::Null);
        remove(&mut lookup, &["keep_generations", "ttl", "max_rows_per_sec", "connections"]);
        canonical(&json!({
            "version": job["version"],
            "name": job["name"],
            "features": features,
            "vars": job["vars"],
            "threshold": job["evaluate"]["threshold"],
            "output": self.output(),
            "passthrough": job["score"]["passthrough"],
            "lookup": lookup,
        }))
    }

    fn to_json(&self) -> Value {
        // Every field is a string, a finite number, a list or a map of strings: this can't fail.
        serde_json::to_value(self).unwrap_or_default()
    }
}

fn remove(table: &mut Value, keys: &[&str]) {
    if let Some(table) = table.as_object_mut() {
        table.retain(|key, _| !keys.contains(&key.as_str()));
    }
}

/// JSON without spaces, keys in the order of their bytes.
fn canonical(value: &Value) -> String {
    sorted(value).to_string()
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        Value::Object(object) => {
            let mut entries: Vec<_> = object.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            Value::Object(entries.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}
