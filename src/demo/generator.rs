//! Transactions, one day at a time, and the frauds among them.

use super::calendar::{Calendar, Habit};
use super::columns::{customers_batch, inspections_batch, terminals_batch, transactions_batch};
use super::population::{Customer, Population};
use super::spec::Spec;
use super::stream::{Purpose, Stream};
use crate::error::{Error, Result};
use arrow::record_batch::RecordBatch;
use chrono::NaiveDate;
use rayon::prelude::*;

/// Above this many cents every transaction is a fraud: the first scenario, simple enough to check features by.
const SUSPICIOUS_CENTS: i64 = 22_000;
/// For how many days all transactions of a compromised terminal are frauds: the second scenario.
const TERMINAL_DAYS: i64 = 28;
/// Every so many days a terminal is inspected.
const INSPECTION_DAYS: i64 = 28;
/// For how many days a compromised customer's card is misused: the third scenario.
const CUSTOMER_DAYS: i64 = 14;
/// By how much a misused card's amounts are multiplied; it happens to a third of its transactions.
const MISUSED_FACTOR: i64 = 5;
/// Customers whose transactions are made in one piece of work.
const PIECE: usize = 1024;
const MILLION: i64 = 1_000_000;
/// So many terminals, and so many customers, are compromised at the same time in the smallest lake.
const FEWEST_AT_ONCE: i64 = 6;
/// Ids of a day start at its number (days since 1970) times this.
const IDS_A_DAY: i64 = 1_000_000_000;

/// A transaction before it becomes columns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transaction {
    /// Second of the day.
    pub(super) second: u32,
    pub(super) customer: u32,
    pub(super) terminal: u32,
    pub(super) cents: i64,
    pub(super) fraud: bool,
}

/// Makes the tables of one [`Spec`]. Customers and terminals are made at once and kept (about 100 bytes each);
/// transactions are made a day at a time, so memory does not grow with the number of days.
pub struct Generator {
    spec: Spec,
    population: Population,
    terminals: Seized,
    customers: Seized,
}

/// How many of `among` fall to fraudsters, and how much of what is done with them then is theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seized {
    among: u32,
    /// For so many days.
    days: i64,
    /// How many a day, in millionths.
    daily: i64,
    /// Of a million chances to misuse one of them, how many are taken.
    taken: u32,
}

impl Seized {
    /// `share` of a million fall each day. So few that fewer than six would be compromised at the same time are
    /// made six, each misused as much less: then a small lake has frauds on most days and no more of them than a
    /// large one.
    fn of(among: u32, share: i64, days: i64) -> Self {
        let meant = i64::from(among) * share;
        let daily = meant.max(FEWEST_AT_ONCE * MILLION / days);
        Self { among, days, daily, taken: (meant * MILLION / daily) as u32 }
    }

    /// How many fall on a day: evenly spread, so that no stretch of days is without.
    fn on(&self, day: i64) -> i64 {
        let until = |day: i64| (day * self.daily).div_euclid(MILLION);
        until(day + 1) - until(day)
    }

    /// Whether a chance is taken; asks no random number where all are.
    fn takes(&self, stream: &mut Stream) -> bool {
        i64::from(self.taken) == MILLION || stream.below(MILLION as u32) < self.taken
    }
}

impl Generator {
    /// Draws customers and terminals.
    ///
    /// # Errors
    /// A usage error for a spec that cannot be made.
    pub fn new(spec: Spec) -> Result<Self> {
        spec.check()?;
        let population = Population::of(&spec);
        Ok(Self {
            population,
            // The handbook draws 2 of 10,000 terminals and 3 of 5,000 customers a day; in this proportion the share
            // of frauds stays the same whatever the size.
            terminals: Seized::of(spec.terminals, 200, TERMINAL_DAYS),
            customers: Seized::of(spec.customers, 600, CUSTOMER_DAYS),
            spec,
        })
    }

    /// What is made.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The transactions of `date` in the order of their times, by [`transactions_schema`](super::transactions_schema);
    /// any date can be asked for. `transaction_id` is unique among all days and ascends.
    ///
    /// # Errors
    /// None in practice: the columns are of equal length and of the schema's types.
    pub fn day(&self, date: NaiveDate) -> Result<RecordBatch> {
        let day = Calendar::of(date);
        let leaked = self.drawn(day.number, &self.customers, Purpose::CompromisedCustomers);
        let seized = self.drawn(day.number, &self.terminals, Purpose::CompromisedTerminals);
        let pieces: Vec<Vec<Transaction>> = self
            .population
            .customers
            .par_chunks(PIECE)
            .enumerate()
            .map(|(piece, customers)| {
                let mut made = Vec::with_capacity(customers.len() * 3);
                for (customer, id) in customers.iter().zip((piece * PIECE) as u32..) {
                    self.shop(&day, id, customer, &leaked, &seized, &mut made);
                }
                made
            })
            .collect();
        let mut transactions = pieces.concat();
        // Stable, so that what happens in the same second stays in the order of the customers.
        transactions.par_sort_by_key(|transaction| transaction.second);
        transactions_batch(&transactions, day.number, day.number * IDS_A_DAY)
            .map_err(|source| Error::failed("could not make a day's columns").because(source).with("day", date))
    }

    /// The days of the spec in order, each made when it is asked for.
    pub fn days(&self) -> impl Iterator<Item = Result<(NaiveDate, RecordBatch)>> + '_ {
        self.spec.dates().map(|date| self.day(date).map(|batch| (date, batch)))
    }

    /// Customers by [`customers_schema`](super::customers_schema), in the order of their ids.
    ///
    /// # Errors
    /// None in practice: the columns are of equal length and of the schema's types.
    pub fn customers(&self) -> Result<RecordBatch> {
        customers_batch(&self.population.customers)
            .map_err(|source| Error::failed("could not make the customers' columns").because(source))
    }

    /// Terminals by [`terminals_schema`](super::terminals_schema), in the order of their ids.
    ///
    /// # Errors
    /// None in practice: the columns are of equal length and of the schema's types.
    pub fn terminals(&self) -> Result<RecordBatch> {
        terminals_batch(&self.population.terminals)
            .map_err(|source| Error::failed("could not make the terminals' columns").because(source))
    }

    /// Inspections of terminals by [`inspections_schema`](super::inspections_schema), in the order of their days. Each
    /// terminal is inspected every four weeks, beginning before the spec's first day; what is found is reported a
    /// week later.
    ///
    /// # Errors
    /// A usage error where the spec has no last day.
    pub fn inspections(&self) -> Result<RecordBatch> {
        let number = |date: NaiveDate| date.signed_duration_since(NaiveDate::default()).num_days();
        let (first, end) = (number(self.spec.start) - INSPECTION_DAYS, number(self.spec.end()?));
        let mut found: Vec<(u32, i64, bool)> = Vec::new();
        for day in first..end {
            let seized = self.drawn(day, &self.terminals, Purpose::CompromisedTerminals);
            let due = (-day).rem_euclid(INSPECTION_DAYS) as u32;
            let terminals = (due..self.spec.terminals).step_by(INSPECTION_DAYS as usize);
            found.extend(terminals.map(|terminal| (terminal, day, seized.binary_search(&terminal).is_ok())));
        }
        inspections_batch(&found)
            .map_err(|source| Error::failed("could not make the inspections' columns").because(source))
    }

    /// What was drawn on `day` or on the days before for which it lasts, sorted. It does not begin with the spec's
    /// first day, so the share of frauds is the same from the first day on.
    fn drawn(&self, day: i64, of: &Seized, purpose: Purpose) -> Vec<u32> {
        let mut drawn: Vec<u32> = (day - of.days + 1..=day)
            .flat_map(|day| {
                let mut stream = Stream::open(self.spec.seed, purpose, day, 0);
                (0..of.on(day)).map(move |_| stream.below(of.among))
            })
            .collect();
        drawn.sort_unstable();
        drawn
    }

    /// What one customer buys on a day.
    fn shop(
        &self,
        day: &Calendar,
        id: u32,
        customer: &Customer,
        leaked: &[u32],
        seized: &[u32],
        made: &mut Vec<Transaction>,
    ) {
        let mut stream = Stream::open(self.spec.seed, Purpose::Transactions, day.number, id.into());
        let has_leaked = leaked.binary_search(&id).is_ok();
        let already = made.len();
        for _ in 0..stream.poisson(customer.daily_rate * day.pace) {
            let is_unusual = stream.below(100) < customer.segment().unusual_percent;
            let second = day.second(if is_unusual { Habit::Daytime } else { customer.habit() }, &mut stream);
            // Somebody who lives far from all terminals buys nothing.
            let Some(terminal) = self.population.streets.pick(customer.place, &mut stream) else { continue };
            let mean = customer.mean_amount * self.population.terminals[terminal as usize].category().price;
            let mut cents = amount_cents(mean, &mut stream);
            let is_seized = seized.binary_search(&terminal).is_ok() && self.terminals.takes(&mut stream);
            let mut fraud = cents > SUSPICIOUS_CENTS || is_seized;
            if stream.below(3) == 0 && has_leaked && self.customers.takes(&mut stream) {
                cents *= MISUSED_FACTOR;
                fraud = true;
            }
            made.push(Transaction { second, customer: id, terminal, cents, fraud });
        }
        made[already..].sort_by_key(|transaction| transaction.second);
    }
}

/// An amount about `mean` with a deviation of two fifths of it; what would be negative is drawn anew, evenly.
fn amount_cents(mean: f64, stream: &mut Stream) -> i64 {
    let mut amount = mean + 0.4 * mean * stream.bell();
    if amount < 0.0 {
        amount = stream.between(0.0, 2.0 * mean);
    }
    ((amount * 100.0).round() as i64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_falls_is_evenly_spread_and_in_its_share_at_any_size() {
        for among in [10, 50, 238, 357, 600, 4_000, 10_000_000] {
            for (share, days) in [(200, TERMINAL_DAYS), (600, CUSTOMER_DAYS)] {
                let seized = Seized::of(among, share, days);
                let at_once: Vec<i64> =
                    (17_000..17_200).map(|day| (day - days + 1..=day).map(|day| seized.on(day)).sum()).collect();
                let (least, most) = (*at_once.iter().min().unwrap(), *at_once.iter().max().unwrap());
                assert!(least >= 1 && most - least <= 1, "{among}: {least} to {most}");
                let misused = most as f64 / f64::from(among) * f64::from(seized.taken) / MILLION as f64;
                let meant = share as f64 * days as f64 / MILLION as f64;
                assert!((0.8..1.4).contains(&(misused / meant)), "{among}: {misused} where {meant} is meant");
                assert!(i64::from(seized.taken) == MILLION || most == FEWEST_AT_ONCE, "{among}: all chances are taken");
            }
        }
    }
}
