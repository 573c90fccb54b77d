//! What is counted, for Prometheus.

use super::route::Route;
use crate::error::{Error, Result};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// The type of what [`Telemetry::text`] gives.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// From 50 us, which a read in process stays under, to what a slow store takes.
const BUCKETS: [f64; 13] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TableLabels {
    table: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ArmLabels {
    table: String,
    arm: String,
}

type Times = Family<RouteLabels, Histogram, fn() -> Histogram>;
type PerTable<M> = Family<TableLabels, M>;

/// Everything that is counted, and the registry that writes it down.
pub struct Telemetry {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    times: Vec<Histogram>,
    hits: PerTable<Counter>,
    misses: PerTable<Counter>,
    previous: PerTable<Counter>,
    fallback: PerTable<Counter>,
    stale: PerTable<Counter>,
    read_failures: PerTable<Counter>,
    reloads: PerTable<Counter>,
    reload_failures: PerTable<Counter>,
    generation: PerTable<Gauge>,
    is_current: PerTable<Gauge>,
    age: PerTable<Gauge<f64, AtomicU64>>,
    arms: Family<ArmLabels, Counter>,
    /// What is counted of a store over a network.
    pub store: StoreTelemetry,
    /// Connections that are open.
    pub connections: Gauge,
}

/// What is counted of a store over a network.
#[derive(Debug, Clone)]
pub struct StoreTelemetry {
    /// Reads that requests went without, because the store does not answer.
    pub refused: Counter,
    openings: Counter,
    is_open: Gauge,
}

/// What is counted of one lookup table.
#[derive(Debug, Clone)]
pub struct TableTelemetry {
    /// Keys that had a value, in the current generation or the previous one.
    pub hits: Counter,
    /// Keys that had none.
    pub misses: Counter,
    /// Values of the previous generation.
    pub previous: Counter,
    /// Fallback values.
    pub fallback: Counter,
    /// Values that were stale.
    pub stale: Counter,
    /// Reads of an opened generation that failed.
    pub read_failures: Counter,
    /// Generations that were taken up.
    pub reloads: Counter,
    /// Looks at the pointer, or at a generation, that failed.
    pub reload_failures: Counter,
    generation: Gauge,
    is_current: Gauge,
    age: Gauge<f64, AtomicU64>,
}

impl Telemetry {
    /// Nothing counted yet.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("lakemill_serve");
        let requests = Family::default();
        registry.register("requests", "Requests by route and status", requests.clone());
        let times = Times::new_with_constructor(|| Histogram::new(BUCKETS));
        let help = "From the head of a request to its answer";
        registry.register("request_duration_seconds", help, times.clone());
        let mut counted = |name: &str, help: &str| {
            let family = PerTable::<Counter>::default();
            registry.register(name, help, family.clone());
            family
        };
        let hits = counted("hits", "Keys that had a value, in the current generation or the previous one");
        let misses = counted("misses", "Keys that had no value in any generation that was asked");
        let previous = counted("previous", "Values of the previous generation");
        let fallback = counted("fallback", "Fallback values");
        let stale = counted("stale", "Values older than stale_after");
        let read_failures = counted("read_failures", "Reads of an opened generation that failed");
        let reloads = counted("reloads", "Generations that were taken up");
        let reload_failures = counted("reload_failures", "Pointers and generations that could not be read");
        let generation = PerTable::default();
        registry.register("generation", "The generation that is served; 0 where there is none", generation.clone());
        let is_current = PerTable::default();
        let help = "1 where the generation that is served is the one that is published";
        registry.register("generation_is_current", help, is_current.clone());
        let age = PerTable::default();
        let help = "The time since the end of the interval that the served values were made for";
        registry.register("data_age_seconds", help, age.clone());
        let arms = Family::default();
        registry.register("arm_keys", "Keys by the arm of a split that they belong to", arms.clone());
        let store = StoreTelemetry::new(&mut registry);
        let connections = Gauge::default();
        registry.register("connections", "Connections that are open", connections.clone());
        let times = Route::ALL.iter().map(|route| times.get_or_create_owned(&RouteLabels { route: route.name() }));
        let times = times.collect();
        Self {
            registry,
            requests,
            times,
            hits,
            misses,
            previous,
            fallback,
            stale,
            read_failures,
            reloads,
            reload_failures,
            generation,
            is_current,
            age,
            arms,
            store,
            connections,
        }
    }

    /// The counters of the lookup table `name`.
    pub fn table(&self, name: &str) -> TableTelemetry {
        let labels = TableLabels { table: name.to_owned() };
        let counter = |family: &PerTable<Counter>| family.get_or_create_owned(&labels);
        TableTelemetry {
            hits: counter(&self.hits),
            misses: counter(&self.misses),
            previous: counter(&self.previous),
            fallback: counter(&self.fallback),
            stale: counter(&self.stale),
            read_failures: counter(&self.read_failures),
            reloads: counter(&self.reloads),
            reload_failures: counter(&self.reload_failures),
            generation: self.generation.get_or_create_owned(&labels),
            is_current: self.is_current.get_or_create_owned(&labels),
            age: self.age.get_or_create_owned(&labels),
        }
    }

    /// The counter of an arm of the split `table`.
    pub fn arm(&self, table: &str, arm: &str) -> Counter {
        self.arms.get_or_create_owned(&ArmLabels { table: table.to_owned(), arm: arm.to_owned() })
    }

    /// Counts a request.
    pub fn answered(&self, route: Route, status: u16, took: Duration) {
        self.requests.get_or_create(&RequestLabels { route: route.name(), status }).inc();
        if let Some(times) = self.times.get(route as usize) {
            times.observe(took.as_secs_f64());
        }
    }

    /// All of it as OpenMetrics text.
    ///
    /// # Errors
    /// A failure of the encoder.
    pub fn text(&self) -> Result<String> {
        let mut text = String::new();
        encode(&mut text, &self.registry)
            .map_err(|source| Error::failed("the metrics cannot be written").because(source))?;
        Ok(text)
    }
}

impl StoreTelemetry {
    fn new(registry: &mut Registry) -> Self {
        let is_open = Gauge::default();
        let help = "1 while the store is not asked because it does not answer";
        registry.register("store_circuit_open", help, is_open.clone());
        let openings = Counter::default();
        let help = "How often the store stopped answering, so that it was asked no more";
        registry.register("store_circuit_openings", help, openings.clone());
        let refused = Counter::default();
        let help = "Reads that requests went without, because the store does not answer";
        registry.register("store_reads_refused", help, refused.clone());
        Self { refused, openings, is_open }
    }

    /// The store is asked no more.
    pub fn opened(&self) {
        self.openings.inc();
        self.is_open.set(1);
    }

    /// The store is asked again.
    pub fn closed(&self) {
        self.is_open.set(0);
    }
}

impl TableTelemetry {
    /// Says what is served now: the generation's number, whether it is the published one, and its age in seconds.
    pub fn serves(&self, generation: Option<u64>, is_current: bool, age_secs: Option<f64>) {
        self.generation.set(generation.and_then(|number| i64::try_from(number).ok()).unwrap_or(0));
        self.is_current.set(i64::from(is_current));
        self.age.set(age_secs.unwrap_or(f64::NAN));
    }
}
