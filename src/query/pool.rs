//! The memory pool of a session: DataFusion's, that looks at the process too.
//!
//! Operators tell what they hold, roughly. Three things are added to DataFusion's fair pool:
//!
//! - a hash or cross join tells half of what it holds at its worst (it copies its batches into one), so it is charged
//!   twice, and gets at most half the pool: a sort above it must still be able to work;
//! - an operator that spills without changing a row's place is refused more where a quarter of the pool is left, for the
//!   merging of what was spilled, and where the process holds more than its limit;
//! - where rows must come in one order, an operator that would spill in a way that changes it fails instead, by name.

use crate::error::{Error, ErrorKind};
use crate::memory::{Budget, resident_bytes};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The process is looked at each time that so much more was asked for.
const LOOK_EVERY: usize = 4 << 20;

/// A spill of less than this share of the pool would only make small files.
const LEAST_SPILL: usize = 16;

/// What is special about an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Holds one side of a join, in batches and then in one.
    Build,
    /// Spills, and its rows come in the same order all the same.
    Spills,
    /// Spills, and its rows come in another order then.
    Reorders,
    /// Anything else.
    Other,
}

impl Kind {
    fn of(consumer: &MemoryConsumer) -> Self {
        const BUILD: &[&str] = &["HashJoinInput", "CrossJoinExec"];
        const SPILLS: &[&str] = &["ExternalSorter[", "KeySortExec", "SMJStream"];
        const REORDERS: &[&str] = &[
            "NestedLoopJoinLoad",
            "GroupedHashAggregateStream",
            "SingleHashAggregateStream",
            "FinalHashAggregateStream",
        ];
        let is = |names: &[&str]| names.iter().any(|name| consumer.name().starts_with(name));
        match () {
            () if is(BUILD) => Self::Build,
            () if is(SPILLS) => Self::Spills,
            () if is(REORDERS) => Self::Reorders,
            () => Self::Other,
        }
    }
}

/// A fair pool under the limit of a process.
#[derive(Debug)]
pub(super) struct ProcessPool {
    pool: FairSpillPool,
    pool_bytes: usize,
    /// The limit of the process, if there is one.
    limit: Option<u64>,
    /// Whether the order of rows must not depend on memory.
    ordered: bool,
    /// What was asked for since the process was looked at.
    asked: AtomicUsize,
}

impl ProcessPool {
    pub(super) fn new(pool_bytes: usize, limit: Option<u64>, ordered: bool) -> Self {
        Self { pool: FairSpillPool::new(pool_bytes), pool_bytes, limit, ordered, asked: AtomicUsize::new(0) }
    }

    /// Whether the process holds more than it may.
    fn is_over(&self, additional: usize) -> bool {
        let Some(limit) = self.limit else { return false };
        if self.asked.fetch_add(additional, Ordering::Relaxed) + additional < LOOK_EVERY {
            return false;
        }
        self.asked.store(0, Ordering::Relaxed);
        // The next growth comes on top.
        let over = resident_bytes().is_some_and(|held| held + (LOOK_EVERY as u64) > limit);
        if over {
            // Looked at again at once: the refusal counts until something was let go.
            self.asked.store(LOOK_EVERY, Ordering::Relaxed);
        }
        over
    }

    fn refused(&self, reservation: &MemoryReservation, why: &str) -> DataFusionError {
        let (name, held) = (reservation.consumer().name(), reservation.size());
        DataFusionError::ResourcesExhausted(format!(
            "Failed to allocate for {name} with {held} bytes already allocated: {why}"
        ))
    }
}

/// What an operator of a pool of `pool_bytes` may hold that is charged twice.
pub(super) fn most_build(pool_bytes: usize) -> usize {
    pool_bytes / 4
}

impl MemoryPool for ProcessPool {
    fn name(&self) -> &str {
        "process"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.pool.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.pool.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.pool.grow(reservation, charged(Kind::of(reservation.consumer()), additional));
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.pool.shrink(reservation, charged(Kind::of(reservation.consumer()), shrink));
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let kind = Kind::of(reservation.consumer());
        // Only where rows have an order there is another way to join.
        let has_most = kind == Kind::Build && self.ordered;
        if has_most && reservation.size() + additional > most_build(self.pool_bytes) {
            return Err(self.refused(reservation, "a join may hold a quarter of the memory for queries"));
        }
        // Merging what was spilled takes memory that can't be had by spilling.
        let full = self.pool.reserved() + additional > self.pool_bytes / 4 * 3;
        if kind == Kind::Spills && reservation.size() > 0 && full {
            return Err(self.refused(reservation, "a quarter of the memory for queries is left for merging"));
        }
        let spills = matches!(kind, Kind::Spills | Kind::Build);
        if spills && reservation.size() > self.pool_bytes / LEAST_SPILL && self.is_over(additional) {
            return Err(self.refused(reservation, "the process holds all that it may"));
        }
        match self.pool.try_grow(reservation, charged(kind, additional)) {
            // Operators spill at the library's own error only.
            Err(error @ DataFusionError::ResourcesExhausted(_)) if self.ordered && kind == Kind::Reorders => {
                Err(DataFusionError::External(Box::new(reordering(reservation, error))))
            }
            grown => grown,
        }
    }

    fn reserved(&self) -> usize {
        self.pool.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.pool.memory_limit()
    }
}

impl fmt::Display for ProcessPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pool.fmt(f)
    }
}

/// What an operator holds, by what it tells.
fn charged(kind: Kind, bytes: usize) -> usize {
    if kind == Kind::Build { bytes.saturating_mul(2) } else { bytes }
}

fn reordering(reservation: &MemoryReservation, source: DataFusionError) -> Error {
    let name = reservation.consumer().name();
    let name = name.split(['[', ' ']).next().unwrap_or(name);
    Error::new(ErrorKind::Budget, "the query needs more memory than it may use")
        .with("operator", name)
        .hint("raise --memory; this operator would go on on the disk, but give its rows in another order then")
        // As text: an operator that finds the library's own error among the causes would spill all the same.
        .because(Error::failed(source.strip_backtrace()))
}

/// Whether a query failed for want of memory.
pub(super) fn is_exhausted(error: &DataFusionError) -> bool {
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => true,
        DataFusionError::External(source) => {
            source.downcast_ref::<Error>().is_some_and(|error| error.kind() == ErrorKind::Budget)
        }
        _ => false,
    }
}

/// The limit beyond which operators spill: a little below that of the process.
pub(super) fn soft(budget: &Budget) -> u64 {
    budget.limit - budget.limit / 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use datafusion::datasource::MemTable;
    use datafusion::execution::memory_pool::UnboundedMemoryPool;
    use datafusion::execution::runtime_env::RuntimeEnvBuilder;
    use datafusion::prelude::{SessionConfig, SessionContext};
    use std::sync::{Arc, Mutex};

    /// Remembers who asks for memory.
    #[derive(Debug, Default)]
    struct Asked {
        pool: UnboundedMemoryPool,
        by: Mutex<Vec<(String, Kind)>>,
    }

    impl fmt::Display for Asked {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("asked")
        }
    }

    impl MemoryPool for Asked {
        fn name(&self) -> &str {
            "asked"
        }

        fn register(&self, consumer: &MemoryConsumer) {
            self.by.lock().unwrap().push((consumer.name().to_owned(), Kind::of(consumer)));
        }

        fn grow(&self, reservation: &MemoryReservation, additional: usize) {
            self.pool.grow(reservation, additional);
        }

        fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
            self.pool.shrink(reservation, shrink);
        }

        fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
            self.pool.try_grow(reservation, additional)
        }

        fn reserved(&self) -> usize {
            self.pool.reserved()
        }
    }

    /// What DataFusion's operators call themselves where they ask for memory: with other names, joins would hold twice
    /// what they may, and aggregates spill into another order of rows.
    #[tokio::test]
    async fn operators_still_ask_under_the_names_that_are_known() {
        let cases = [
            ("SELECT a.id FROM t a JOIN t b ON a.id = b.part", 1, "", "HashJoinInput", Kind::Build),
            ("SELECT a.id FROM t a JOIN t b ON a.id = b.part", 2, "", "HashJoinInput", Kind::Build),
            ("SELECT a.id, b.part FROM t a CROSS JOIN t b", 1, "", "CrossJoinExec", Kind::Build),
            ("SELECT a.id FROM t a JOIN t b ON a.id % 7 <> b.part % 5", 1, "", "NestedLoopJoinLoad[", Kind::Reorders),
            ("SELECT a.id FROM t a JOIN t b ON a.id = b.part", 2, "merge", "SMJStream[", Kind::Spills),
            ("SELECT id FROM t ORDER BY part", 1, "", "ExternalSorter[", Kind::Spills),
            ("SELECT part, sum(id) FROM t GROUP BY part", 1, "", "SingleHashAggregateStream[", Kind::Reorders),
            ("SELECT part, sum(id) FROM t GROUP BY part", 2, "", "FinalHashAggregateStream[", Kind::Reorders),
            ("SELECT part, sum(id) FROM t GROUP BY part", 1, "old", "GroupedHashAggregateStream[", Kind::Reorders),
        ];
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..300));
        let parts: ArrayRef = Arc::new(Int64Array::from_iter_values((0..300).map(|id| id % 17)));
        let rows = RecordBatch::try_from_iter([("id", ids), ("part", parts)]).unwrap();
        for (sql, threads, way, name, kind) in cases {
            let asked = Arc::new(Asked::default());
            let pool = Arc::clone(&asked) as Arc<dyn MemoryPool>;
            let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc().unwrap();
            let mut config = SessionConfig::new().with_target_partitions(threads);
            config.options_mut().optimizer.prefer_hash_join = way != "merge";
            config.options_mut().execution.enable_migration_aggregate = way != "old";
            let context = SessionContext::new_with_config_rt(config, runtime);
            // Rows that come in parts are aggregated in parts.
            let halves = vec![rows.slice(0, 100), rows.slice(100, 200)];
            let parts = if threads == 1 { vec![halves] } else { halves.into_iter().map(|half| vec![half]).collect() };
            let table = MemTable::try_new(rows.schema(), parts).unwrap();
            context.register_table("t", Arc::new(table)).unwrap();
            context.sql(sql).await.unwrap().collect().await.unwrap();
            let by = asked.by.lock().unwrap().clone();
            assert!(
                by.iter().any(|(by, of)| by.starts_with(name) && *of == kind),
                "no {name} ({kind:?}) of {sql}: {by:?}"
            );
        }
    }
}
