//! Who buys and where: customers by segment, terminals by category.

use super::calendar::Habit;
use super::spec::Spec;
use super::stream::{Purpose, Stream};
use super::streets::{SIDE, Streets};
use rayon::prelude::*;

/// A kind of customer.
pub(super) struct Segment {
    pub(super) name: &'static str,
    share: u32,
    mean_amount: [f64; 2],
    daily_rate: [f64; 2],
    habit: Habit,
    /// Of a hundred of its transactions, how many come at hours that are not its habit's.
    pub(super) unusual_percent: u32,
}

/// The kinds of customers. Together they make about 1.92 transactions a customer a day.
pub(super) static SEGMENTS: [Segment; 4] = [
    Segment {
        name: "family",
        share: 35,
        mean_amount: [30.0, 65.0],
        daily_rate: [1.2, 3.4],
        habit: Habit::Daytime,
        unusual_percent: 20,
    },
    Segment {
        name: "professional",
        share: 25,
        mean_amount: [40.0, 90.0],
        daily_rate: [0.6, 3.0],
        habit: Habit::Evening,
        unusual_percent: 15,
    },
    Segment {
        name: "retired",
        share: 20,
        mean_amount: [15.0, 45.0],
        daily_rate: [0.2, 1.8],
        habit: Habit::Early,
        unusual_percent: 10,
    },
    Segment {
        name: "student",
        share: 20,
        mean_amount: [5.0, 25.0],
        daily_rate: [1.0, 4.0],
        habit: Habit::Night,
        unusual_percent: 25,
    },
];

/// A kind of terminal, and how dear what it sells is.
pub(super) struct Category {
    pub(super) name: &'static str,
    share: u32,
    pub(super) price: f64,
}

/// The kinds of terminals.
pub(super) static CATEGORIES: [Category; 6] = [
    Category { name: "grocery", share: 34, price: 0.9 },
    Category { name: "restaurant", share: 22, price: 0.75 },
    Category { name: "fuel", share: 14, price: 1.1 },
    Category { name: "clothing", share: 14, price: 1.2 },
    Category { name: "electronics", share: 10, price: 1.5 },
    Category { name: "travel", share: 6, price: 1.75 },
];

/// Of a thousand customers, how many are of a segment that nobody knows.
const UNKNOWN_SEGMENT: u32 = 60;
/// Of a thousand terminals, how many are of a category that nobody knows.
const UNKNOWN_CATEGORY: u32 = 30;

/// One who buys.
pub(super) struct Customer {
    pub(super) place: [f64; 2],
    pub(super) segment: u8,
    pub(super) segment_is_known: bool,
    /// Mean of the amounts, before the category's price.
    pub(super) mean_amount: f64,
    /// Transactions on a mean day.
    pub(super) daily_rate: f64,
}

impl Customer {
    pub(super) fn segment(&self) -> &'static Segment {
        &SEGMENTS[usize::from(self.segment)]
    }

    pub(super) fn habit(&self) -> Habit {
        self.segment().habit
    }
}

/// Where one can pay.
pub(super) struct Terminal {
    pub(super) place: [f64; 2],
    pub(super) category: u8,
    pub(super) category_is_known: bool,
}

impl Terminal {
    pub(super) fn category(&self) -> &'static Category {
        &CATEGORIES[usize::from(self.category)]
    }
}

/// Everybody and everything that does not change from day to day.
pub(super) struct Population {
    pub(super) customers: Vec<Customer>,
    pub(super) terminals: Vec<Terminal>,
    pub(super) streets: Streets,
}

impl Population {
    pub(super) fn of(spec: &Spec) -> Self {
        let customers = (0..spec.customers).into_par_iter().map(|id| customer(spec.seed, id)).collect();
        let terminals: Vec<Terminal> = (0..spec.terminals).into_par_iter().map(|id| terminal(spec.seed, id)).collect();
        let streets = Streets::of(terminals.iter().map(|terminal| terminal.place).collect());
        Self { customers, terminals, streets }
    }
}

fn customer(seed: u64, id: u32) -> Customer {
    let mut stream = Stream::open(seed, Purpose::Customer, 0, id.into());
    let place = somewhere(&mut stream);
    let chosen = stream.weighted(&running_sums(SEGMENTS.each_ref().map(|segment| segment.share)));
    let segment = &SEGMENTS[chosen];
    Customer {
        place,
        segment: chosen as u8,
        segment_is_known: stream.below(1000) >= UNKNOWN_SEGMENT,
        mean_amount: stream.between(segment.mean_amount[0], segment.mean_amount[1]),
        daily_rate: stream.between(segment.daily_rate[0], segment.daily_rate[1]),
    }
}

fn terminal(seed: u64, id: u32) -> Terminal {
    let mut stream = Stream::open(seed, Purpose::Terminal, 0, id.into());
    let place = somewhere(&mut stream);
    let category = stream.weighted(&running_sums(CATEGORIES.each_ref().map(|category| category.share))) as u8;
    Terminal { place, category, category_is_known: stream.below(1000) >= UNKNOWN_CATEGORY }
}

fn somewhere(stream: &mut Stream) -> [f64; 2] {
    // To two decimals, so that the tables say exactly what the generator goes by.
    [(); 2].map(|()| f64::from(stream.below((SIDE * 100.0) as u32)) / 100.0)
}

fn running_sums<const N: usize>(shares: [u32; N]) -> [u32; N] {
    let mut sum = 0;
    shares.map(|share| {
        sum += share;
        sum
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_segments_make_the_rows_that_sizes_are_reckoned_with() {
        let mean: f64 =
            SEGMENTS.iter().map(|s| f64::from(s.share) / 100.0 * (s.daily_rate[0] + s.daily_rate[1]) / 2.0).sum();
        assert!((mean - 1.92).abs() < 0.06, "{mean}");
    }

    #[test]
    fn shares_are_percentages() {
        assert_eq!(SEGMENTS.iter().map(|segment| segment.share).sum::<u32>(), 100);
        assert_eq!(CATEGORIES.iter().map(|category| category.share).sum::<u32>(), 100);
    }
}
