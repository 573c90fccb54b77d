//! The settings of a search: what each one sets the searched parameters to.
//!
//! They depend on the space, the method and the seed alone, and stand in an order that does, too: of a grid with the
//! first name's values changing slowest, of random ones as they were drawn.

use super::spec::{SearchMethod, SearchRange, SearchScale, SearchSpec, SearchValues};
use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Settings that a search may have, at most.
pub const MOST_SETTINGS: usize = 1000;

/// Settings of a random search, where the job does not say.
const RANDOM_SETTINGS: usize = 20;

/// Settings that are drawn before so many different ones are given up.
const DRAWS: usize = 50;

/// A searched parameter, and what it may be.
type Searched<'a> = (&'a String, &'a SearchValues);

/// What the searched parameters are in one setting.
type Setting = Map<String, Value>;

impl SearchSpec {
    /// All settings, each once; `params` is the JSON Schema of the algorithm's parameters, which says of ranges
    /// whether their values are whole.
    ///
    /// At most [`MOST_SETTINGS`] are given: a grid that has more is refused when the job is checked. Random settings
    /// are fewer than were asked for where the space has no more.
    pub fn list(&self, params: &Value, seed: u64) -> Vec<Map<String, Value>> {
        match self.method {
            SearchMethod::Grid => self.grid(params),
            SearchMethod::Random => self.random(params, seed),
        }
    }

    /// How many combinations a grid has; saturates.
    pub fn combinations(&self, params: &Value) -> usize {
        let counts = self.space.iter().map(|(name, values)| points(values, is_whole(params, name)).len());
        counts.fold(1, usize::saturating_mul)
    }

    fn grid(&self, params: &Value) -> Vec<Setting> {
        let mut all = vec![Setting::new()];
        for (name, values) in &self.space {
            let points = points(values, is_whole(params, name));
            let with = |setting: &Setting, point: &Value| {
                let mut setting = setting.clone();
                setting.insert(name.clone(), point.clone());
                setting
            };
            let more = all.iter().flat_map(|setting| points.iter().map(move |point| with(setting, point)));
            all = more.take(MOST_SETTINGS).collect();
        }
        all
    }

    fn random(&self, params: &Value, seed: u64) -> Vec<Setting> {
        let wanted = self.settings.map_or(RANDOM_SETTINGS, |settings| settings as usize).min(MOST_SETTINGS);
        let (mut all, mut seen) = (Vec::new(), BTreeSet::new());
        for draw in 0..wanted * DRAWS {
            // Each draw has a stream of its own, so that more settings begin with the same ones.
            let mut stream = ChaCha8Rng::seed_from_u64(seed);
            stream.set_stream(draw as u64);
            let mut one = |(name, values): Searched<'_>| {
                let unit = (stream.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
                (name.clone(), drawn(values, is_whole(params, name), unit))
            };
            let setting: Setting = self.space.iter().map(&mut one).collect();
            if seen.insert(Value::Object(setting.clone()).to_string()) {
                all.push(setting);
            }
            if all.len() == wanted {
                break;
            }
        }
        all
    }
}

/// Whether a parameter is a whole number.
pub(super) fn is_whole(params: &Value, name: &str) -> bool {
    is_of_type(params, name, "integer")
}

/// Whether the schema of the parameters says that one of them is of this type.
pub(super) fn is_of_type(params: &Value, name: &str, wanted: &str) -> bool {
    match params.pointer(&format!("/properties/{}/type", name.replace('~', "~0").replace('/', "~1"))) {
        Some(Value::String(found)) => found == wanted,
        Some(Value::Array(types)) => types.iter().any(|found| found == wanted),
        _ => false,
    }
}

/// The values that a grid takes, each once.
fn points(values: &SearchValues, whole: bool) -> Vec<Value> {
    let all = match values {
        SearchValues::List(values) => values.clone(),
        SearchValues::Range(range) => {
            // What is beyond has been refused; here it must not fill the memory.
            let steps = range.steps.unwrap_or(2).clamp(2, MOST_SETTINGS as u32 + 1);
            (0..steps).map(|step| at(range, f64::from(step) / f64::from(steps - 1), whole)).collect()
        }
    };
    let mut seen = BTreeSet::new();
    all.into_iter().filter(|value| seen.insert(value.to_string())).collect()
}

/// The value at `unit`, from 0 up to, but without, 1.
fn drawn(values: &SearchValues, whole: bool, unit: f64) -> Value {
    match values {
        SearchValues::List(values) => {
            let index = (unit * values.len() as f64) as usize;
            values.get(index).cloned().unwrap_or_default()
        }
        SearchValues::Range(range) if whole && range.scale == SearchScale::Linear => {
            // Each whole number is as probable as the others.
            let (from, to) = ordered(range);
            whole_number((from + (unit * (to - from + 1.0)).floor()).clamp(from, to))
        }
        SearchValues::Range(range) => at(range, unit, whole),
    }
}

/// The value of a range at a share of its length. Fractions have four significant digits: they are to be read, and
/// logarithms are not the same to the last bit on all machines.
fn at(range: &SearchRange, share: f64, whole: bool) -> Value {
    let (from, to) = ordered(range);
    let value = match range.scale {
        SearchScale::Linear => from + (to - from) * share,
        SearchScale::Log => (from.ln() + (to.ln() - from.ln()) * share).exp(),
    };
    if whole {
        return whole_number(value.round().clamp(from, to));
    }
    let value = match share {
        share if share <= 0.0 => from,
        share if share >= 1.0 => to,
        _ => format!("{value:.3e}").parse().unwrap_or(value).clamp(from, to),
    };
    Value::from(value)
}

/// The ends of a range in their order, also where nobody has refused that they are not.
fn ordered(range: &SearchRange) -> (f64, f64) {
    let (from, to) = range.ends();
    (from.min(to), to.max(from))
}

fn whole_number(value: f64) -> Value {
    Value::from(value as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(method: &str, settings: Option<u32>, space: Value) -> SearchSpec {
        let mut spec = json!({ "method": method, "metric": "roc_auc", "space": space });
        if let Some(settings) = settings {
            spec["settings"] = json!(settings);
        }
        serde_json::from_value(spec).unwrap()
    }

    fn params() -> Value {
        json!({ "properties": {
            "leaves": { "type": "integer" }, "rate": { "type": "number" }, "l2": { "type": ["number", "null"] },
            "objective": { "$ref": "#/$defs/Objective" }
        } })
    }

    #[test]
    fn a_grid_has_every_combination_the_first_name_slowest() {
        let space = json!({ "rate": [0.1, 0.05], "leaves": { "from": 7, "to": 31, "steps": 3 } });
        let spec = spec("grid", None, space);
        assert_eq!(spec.combinations(&params()), 6);
        let all = spec.list(&params(), 1);
        let pairs: Vec<(i64, f64)> =
            all.iter().map(|own| (own["leaves"].as_i64().unwrap(), own["rate"].as_f64().unwrap())).collect();
        assert_eq!(pairs, [(7, 0.1), (7, 0.05), (19, 0.1), (19, 0.05), (31, 0.1), (31, 0.05)]);
    }

    #[test]
    fn steps_lie_evenly_or_by_factors_and_whole_ones_stand_once() {
        let values = |values: Value, whole: bool| {
            let values: SearchValues = serde_json::from_value(values).unwrap();
            Value::Array(points(&values, whole))
        };
        assert_eq!(values(json!({ "from": 0, "to": 1, "steps": 3 }), false), json!([0.0, 0.5, 1.0]));
        let factors = json!({ "from": 0.001, "to": 1, "steps": 4, "scale": "log" });
        assert_eq!(values(factors, false), json!([0.001, 0.01, 0.1, 1.0]));
        assert_eq!(values(json!({ "from": 1, "to": 3, "steps": 9 }), true), json!([1, 2, 3]));
        assert_eq!(values(json!([1, 2, 1]), true), json!([1, 2]));
    }

    #[test]
    fn the_seed_draws_settings_and_more_of_them_begin_with_the_same() {
        let space = || {
            json!({
                "leaves": { "from": 7, "to": 63 }, "rate": { "from": 0.01, "to": 0.3, "scale": "log" },
                "l2": [0.0, 1.0, 10.0]
            })
        };
        let (few, many) = (spec("random", Some(5), space()), spec("random", Some(200), space()));
        let all = many.list(&params(), 3);
        assert_eq!((all.len(), few.list(&params(), 3)), (200, all[..5].to_vec()));
        assert_ne!(few.list(&params(), 4), all[..5].to_vec());
        assert_eq!(spec("random", None, space()).list(&params(), 3).len(), RANDOM_SETTINGS);
        let rates: Vec<f64> = all.iter().map(|own| own["rate"].as_f64().unwrap()).collect();
        assert!(rates.iter().all(|rate| (0.01..=0.3).contains(rate) && rate.to_string().len() <= 8));
        let below = rates.iter().filter(|rate| **rate < 0.0548).count();
        assert!((70..130).contains(&below), "half of them below the geometric mean, not {below}");
        let leaves: BTreeSet<i64> = all.iter().map(|own| own["leaves"].as_i64().unwrap()).collect();
        assert!(leaves.len() > 40 && leaves.iter().all(|own| (7..=63).contains(own)));
        let thirds = all.iter().filter(|own| own["l2"] == json!(10.0)).count();
        assert!((40..95).contains(&thirds), "{thirds}");
        // Pinned: another library of random numbers must not change stored searches unnoticed.
        assert_eq!(json!(all[0]), json!({ "l2": 1.0, "leaves": 11, "rate": 0.02998 }));
    }

    #[test]
    fn a_small_space_gives_each_setting_once() {
        let spec = spec("random", Some(50), json!({ "leaves": [7, 15, 31], "objective": ["a", "b"] }));
        let all = spec.list(&params(), 1);
        let distinct: BTreeSet<String> = all.iter().map(|own| json!(own).to_string()).collect();
        assert_eq!((all.len(), distinct.len()), (6, 6));
        let whole = spec_of_two().list(&params(), 9);
        assert_eq!(whole.len(), 2, "both ends of a range are drawn");
    }

    fn spec_of_two() -> SearchSpec {
        spec("random", Some(9), json!({ "leaves": { "from": 3, "to": 4 } }))
    }

    #[test]
    fn a_grid_that_is_too_large_is_counted_and_not_made() {
        let list: Vec<i64> = (0..1000).collect();
        let names: Map<String, Value> = (0..20).map(|name| (format!("p{name}"), json!(list))).collect();
        let spec = spec("grid", None, Value::Object(names));
        assert_eq!(spec.combinations(&params()), usize::MAX);
        assert_eq!(spec.list(&params(), 1).len(), MOST_SETTINGS);
    }
}
