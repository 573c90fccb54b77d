//! Small tables in memory with all that engines disagree about: NULLs everywhere, NaN, infinities, both zeros, the
//! ends of integers, empty and odd texts, dates before 1970, ties.

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray, UInt32Array,
};
use lakemill::query::{Session, SessionOptions};
use std::sync::Arc;

/// A generator of its own, so that every run sees the same rows.
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn some<T>(&mut self, value: T) -> Option<T> {
        (self.below(6) > 0).then_some(value)
    }
}

/// A table `t` or `u` of so many rows.
fn table(rows: usize, seed: u64) -> RecordBatch {
    const TEXTS: [&str; 9] = ["", "a", "A", "ab", "a%b", "Zürich", " x ", "10", "b_c"];
    const FLOATS: [f64; 10] = [0.0, -0.0, 1.5, -2.25, 1e300, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.1, 3.0];
    let mut next = Numbers::new(seed);
    let each = 0..rows;
    let id = Int64Array::from_iter_values(0..rows as i64);
    let k = Int64Array::from_iter(each.clone().map(|_| {
        let value = next.below(7) as i64;
        next.some(value)
    }));
    let i = Int32Array::from_iter(each.clone().map(|_| {
        let value = next.below(200) as i32 - 100;
        next.some(value)
    }));
    let small = Int16Array::from_iter(each.clone().map(|_| {
        let value = next.below(100) as i16 - 50;
        next.some(value)
    }));
    let n = UInt32Array::from_iter(each.clone().map(|_| {
        let value = next.below(1000) as u32;
        next.some(value)
    }));
    let x = Float64Array::from_iter(each.clone().map(|_| {
        let value = FLOATS[next.below(FLOATS.len() as u64) as usize];
        next.some(value)
    }));
    let y = Float64Array::from_iter(each.clone().map(|_| {
        let value = next.below(1000) as f64 / 8.0;
        next.some(value)
    }));
    let z = Float32Array::from_iter(each.clone().map(|_| {
        let value = next.below(1000) as f32 / 8.0;
        next.some(value)
    }));
    let s = StringArray::from_iter(each.clone().map(|_| {
        let value = TEXTS[next.below(TEXTS.len() as u64) as usize];
        next.some(value)
    }));
    let f = BooleanArray::from_iter(each.clone().map(|_| {
        let value = next.below(2) == 0;
        next.some(value)
    }));
    let d = Date32Array::from_iter(each.clone().map(|_| {
        let value = next.below(30_000) as i32 - 5000;
        next.some(value)
    }));
    let at = TimestampMicrosecondArray::from_iter(each.map(|_| {
        let value = 1_529_000_000_000_000 + next.below(40) as i64 * 21_600_000_000 - 7;
        next.some(value)
    }));
    let local: ArrayRef = Arc::new(at.clone());
    RecordBatch::try_from_iter_with_nullable(
        [
            ("id", Arc::new(id) as ArrayRef),
            ("k", Arc::new(k)),
            ("i", Arc::new(i)),
            ("small", Arc::new(small)),
            ("n", Arc::new(n)),
            ("x", Arc::new(x)),
            ("y", Arc::new(y)),
            ("z", Arc::new(z)),
            ("s", Arc::new(s)),
            ("f", Arc::new(f)),
            ("d", Arc::new(d)),
            ("at", Arc::new(at.with_timezone("UTC"))),
            ("local", local),
        ]
        .map(|(name, array)| (name, array, name != "id")),
    )
    .unwrap()
}

/// A session with `t`, `u` and `none`, a table without rows.
pub fn session() -> Session {
    let mut session = Session::new(SessionOptions::features(256 << 20)).unwrap();
    for (name, rows, seed) in [("t", 120, 1), ("u", 40, 2), ("none", 0, 3)] {
        let batch = table(rows, seed);
        session.register_batches(name, batch.schema(), vec![batch]).unwrap();
    }
    session
}
