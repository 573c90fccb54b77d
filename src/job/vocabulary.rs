//! What the job file's words mean to the rest of the house: algorithms, their parameters, metrics.
//!
//! The caller hands them in, so that reading a job file needs no models and no metrics.

mod search;

use super::document::{Entry, Mistake, Node, to_map};
use super::environment::{Environment, shorten};
use super::schema::{At, SchemaCheck, remove_null, word_hint};
use crate::error::{Error, Result};
use crate::task::Task;
use serde_json::{Map, Value};

/// Checks the parameters of the algorithm of this name.
pub type ParamsCheck<'a> = &'a dyn Fn(&str, &Map<String, Value>) -> Result<()>;

/// The words that a job file may use.
pub struct Vocabulary<'a> {
    /// Every algorithm.
    pub algorithms: Vec<AlgorithmWords>,
    /// Every metric.
    pub metrics: Vec<MetricWords>,
    /// Checks of an algorithm's parameters what its schema can't say. Asked only where the schema
    /// holds; a context pair whose value is a parameter's name says which one is wrong.
    pub check_params: ParamsCheck<'a>,
}

/// One algorithm.
pub struct AlgorithmWords {
    /// Its name.
    pub name: &'static str,
    /// What it can predict.
    pub tasks: &'static [Task],
    /// Whether weights of rows and classes act.
    pub takes_weights: bool,
    /// The JSON Schema of its parameters.
    pub params: Value,
}

/// One metric.
pub struct MetricWords {
    /// Its name.
    pub name: &'static str,
    /// The tasks that it measures.
    pub tasks: &'static [Task],
    /// Whether a larger value means a better model.
    pub greater_is_better: bool,
    /// The least and the greatest value that it can have; infinite where there is no bound.
    pub range: (f64, f64),
}

/// The mistakes of a document in the light of the vocabulary.
pub(super) fn check(root: &Node, words: &Vocabulary<'_>, job: &Value, environment: Environment<'_>) -> Vec<Mistake> {
    let task = root.at(&["model", "task"]).and_then(Node::text).and_then(task_of);
    let mut mistakes = algorithm(root, words, task, job, environment);
    mistakes.extend(search::measured(root, words, task));
    for element in root.at(&["evaluate", "metrics"]).map(Node::elements).unwrap_or_default() {
        if let Some(name) = element.text() {
            mistakes.extend(metric(name, words, task).map(|(message, hint)| at(element, message, hint)));
        }
    }
    for entry in root.at(&["gate"]).map(Node::entries).unwrap_or_default() {
        let found = metric(&entry.key, words, task);
        let known = words.metrics.iter().find(|metric| found.is_none() && metric.name == entry.key);
        mistakes.extend(found.map(|(message, hint)| Mistake::new(&entry.place, message).hint(hint)));
        mistakes.extend(known.into_iter().flat_map(|metric| out_of_reach(metric, &entry.node)));
    }
    mistakes
}

/// What a rule of the gate asks for and no model can reach: such a gate would refuse every model, after its training.
fn out_of_reach(metric: &MetricWords, rule: &Node) -> Vec<Mistake> {
    let (name, (least, greatest)) = (metric.name, metric.range);
    let asked = |key: &str| rule.at(&[key]).and_then(|node| Some((node, node.number()?)));
    let hint = match (least.is_finite(), greatest.is_finite()) {
        (true, true) => format!("`{name}` lies between {least} and {greatest}"),
        (true, false) => format!("`{name}` is at least {least}, and less is better"),
        (false, true) => format!("`{name}` is at most {greatest}"),
        (false, false) => return Vec::new(),
    };
    let threshold = asked("threshold").filter(|(_, value)| match metric.greater_is_better {
        true => *value > greatest,
        false => *value < least,
    });
    let change = asked("min_absolute_change").filter(|(_, value)| *value > greatest - least);
    let told = [(threshold, "no model reaches this threshold"), (change, "no model improves by as much")];
    let mistake = |(asked, message): (Option<(&Node, f64)>, &str)| {
        asked.map(|(node, _)| at(node, message.to_owned(), hint.clone()))
    };
    told.into_iter().filter_map(mistake).collect()
}

fn at(node: &Node, message: String, hint: String) -> Mistake {
    Mistake::new(&node.place, message).hint(hint)
}

fn task_of(name: &str) -> Option<Task> {
    [Task::Binary, Task::Multiclass, Task::Regression].into_iter().find(|task| task.name() == name)
}

fn metric(name: &str, words: &Vocabulary<'_>, task: Option<Task>) -> Option<(String, String)> {
    let Some(metric) = words.metrics.iter().find(|metric| metric.name == name) else {
        let known = words.metrics.iter().map(|metric| metric.name);
        return Some((format!("unknown metric `{}`", shorten(name)), word_hint(name, known)));
    };
    let task = task.filter(|task| !metric.tasks.contains(task))?;
    let fitting = words.metrics.iter().filter(|metric| metric.tasks.contains(&task)).map(|metric| metric.name);
    let hint = format!("for this task: {}", fitting.collect::<Vec<_>>().join(", "));
    Some((format!("`{name}` does not measure a {task} model"), hint))
}

fn algorithm(
    root: &Node,
    words: &Vocabulary<'_>,
    task: Option<Task>,
    job: &Value,
    environment: Environment<'_>,
) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let Some(written) = root.at(&["model", "algorithm"]) else { return mistakes };
    let Some(name) = written.text().filter(|name| !name.is_empty()) else { return mistakes };
    let Some(algorithm) = words.algorithms.iter().find(|algorithm| algorithm.name == name) else {
        let hint = word_hint(name, words.algorithms.iter().map(|algorithm| algorithm.name));
        mistakes.push(at(written, format!("unknown algorithm `{}`", shorten(name)), hint));
        return mistakes;
    };
    if let Some(task) = task.filter(|task| !algorithm.tasks.contains(task)) {
        let fitting = words.algorithms.iter().filter(|other| other.tasks.contains(&task)).map(|other| other.name);
        let hint = format!("for this task: {}", fitting.collect::<Vec<_>>().join(", "));
        mistakes.push(at(written, format!("`{name}` can't be trained for the task `{task}`"), hint));
    }
    let weights = [root.entry(&["model", "class_weight"]), root.entry(&["features", "weight"])];
    for entry in weights.into_iter().flatten().filter(|_| !algorithm.takes_weights) {
        let able = words.algorithms.iter().filter(|other| other.takes_weights).map(|other| other.name);
        let hint = format!("weights act in: {}", able.collect::<Vec<_>>().join(", "));
        mistakes.push(Mistake::new(&entry.place, format!("`{name}` takes no weights")).hint(hint));
    }
    mistakes.extend(params(root, words, algorithm, job, environment));
    mistakes
}

fn params(
    root: &Node,
    words: &Vocabulary<'_>,
    algorithm: &AlgorithmWords,
    job: &Value,
    environment: Environment<'_>,
) -> Vec<Mistake> {
    let mut schema = algorithm.params.clone();
    remove_null(&mut schema);
    let fixed = root.at(&["model", "params"]).map(|written| to_map(written.entries())).unwrap_or_default();
    let searching = search::Searching { words, algorithm: algorithm.name, params: &schema, job, environment, fixed };
    let searched = searching.check(root);
    let Some(written) = root.entry(&["model", "params"]) else {
        let Some(entry) = root.entry(&["model", "algorithm"]) else { return searched };
        let refused = (words.check_params)(algorithm.name, &Map::new()).err();
        let refused = refused.map(|error| refusal(&error, Mistake::new(&entry.place, "")));
        return searched.into_iter().chain(refused).collect();
    };
    let mut mistakes = fixed_params(words, algorithm, &schema, written, job, environment);
    // Each setting would repeat what is wrong with the fixed ones.
    if mistakes.is_empty() {
        mistakes = searched;
    }
    mistakes
}

fn fixed_params(
    words: &Vocabulary<'_>,
    algorithm: &AlgorithmWords,
    schema: &Value,
    written: &Entry,
    job: &Value,
    environment: Environment<'_>,
) -> Vec<Mistake> {
    let check = SchemaCheck { schema, job, environment, mistakes: Vec::new() };
    let mistakes = check.run(&written.node, At { path: "model.params", key: &written.place });
    if !mistakes.is_empty() {
        return mistakes;
    }
    let entries = written.node.entries();
    let Err(error) = (words.check_params)(algorithm.name, &to_map(entries)) else { return Vec::new() };
    let named = entries.iter().find(|entry| error.context().iter().any(|(_, value)| *value == entry.key));
    let place = named.map_or(&written.place, |entry| &entry.node.place);
    vec![refusal(&error, Mistake::new(place, ""))]
}

/// An algorithm's error as a mistake at its parameter.
fn refusal(error: &Error, mut mistake: Mistake) -> Mistake {
    let parameter = error.context().iter().find(|(key, _)| *key == "parameter").map(|(_, name)| name);
    mistake.message = match parameter {
        Some(name) => format!("`{name}`: {}", error.message()),
        None => error.message().to_owned(),
    };
    mistake.hint = error.hint_text().map(str::to_owned);
    mistake
}
