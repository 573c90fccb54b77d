//! The best split of a node by one feature.
//!
//! The loss of a node with gradients `G` and hessians `H` falls by `t(G)^2 / (H + l2) / 2`, where `t` takes `l1`
//! off (XGBoost, Chen and Guestrin 2016, equation 6); a split gains what its sides have more than the node.
//! Numbers are split at a bin's upper edge, missing values once with the right and once with the left side.
//! Where a node has no missing value of the feature there is nothing to learn: then they go with the larger
//! side, which is scikit-learn's rule. The first of equal splits is taken, from the lowest threshold up.

use super::histogram::{MISSING, Scale, Stat, Sum, minus, plus};
use super::promising::{Mark, Sides, mark};

/// What a split must hold to, and how gains are computed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SplitRules {
    /// Rows of each side.
    pub min_rows: u64,
    /// Sum of hessians of each side.
    pub min_hessian: f64,
    /// Taken off the sum of gradients.
    pub l1: f64,
    /// Added to the sum of hessians.
    pub l2: f64,
    /// The least gain.
    pub min_gain: f64,
    /// Whether outputs are held within bounds, by constraints on some feature.
    pub constrained: bool,
    /// For categories.
    pub categories: CategoryRules,
}

/// What a split by category must hold to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CategoryRules {
    /// Features with at most so many categories are split one against the rest.
    pub one_against_rest: usize,
    /// Categories on the smaller side of a split, at most.
    pub max_members: usize,
    /// Added to the hessians by which categories are put in order; rarer ones are left aside.
    pub smooth: f64,
    /// Added to `l2` for splits of many against many.
    pub l2: f64,
    /// Rows that each step of the search must add.
    pub min_group: u64,
}

/// Which bytes of a column go left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Bins up to this one, and missing values if so.
    AtMost { bin: u8, missing: bool },
    /// The bytes whose bit is set.
    Members([u64; 4]),
}

impl Rule {
    /// Whether a byte goes left.
    #[inline]
    pub fn left(&self, byte: u8) -> bool {
        match self {
            Self::AtMost { missing, .. } if byte == MISSING => *missing,
            Self::AtMost { bin, .. } => byte <= *bin,
            Self::Members(bits) => bits[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1,
        }
    }
}

/// A node before it is split.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Node {
    /// Over its rows.
    pub sum: Sum,
    /// The least and the greatest output that constraints above it allow.
    pub bounds: (f64, f64),
}

/// A split that was found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Found {
    /// By how much the loss falls, twice; above 0.
    pub gain: f64,
    /// The feature.
    pub feature: u32,
    /// What goes left.
    pub rule: Rule,
    /// Over the rows that go left.
    pub left: Sum,
    /// The outputs of both sides.
    pub outputs: (f64, f64),
}

/// Finds splits of the nodes of one tree.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Search<'a> {
    pub rules: &'a SplitRules,
    pub scale: Scale,
    /// Tells promising bins apart, where nothing binds outputs and no product of sums leaves the range of numbers.
    mark: Option<Mark>,
}

/// The best split of a node so far.
pub(crate) struct Best {
    /// The gain of the node itself and the least one besides.
    least: f64,
    gain: f64,
    found: Option<Candidate>,
    sides: Sides,
}

/// What is known of a split before it is taken.
struct Candidate {
    feature: u32,
    rule: Rule,
    left: Sum,
    l2: f64,
}

impl<'a> Search<'a> {
    /// For splits that hold to `rules`, of sums in this scale.
    pub fn new(rules: &'a SplitRules, scale: Scale) -> Self {
        let free = !rules.constrained && rules.l1 == 0.0 && rules.l2 <= 1e60 && scale.is_moderate();
        Self { rules, scale, mark: free.then(mark) }
    }
}

impl Search<'_> {
    /// What a leaf of this node adds to the score.
    pub fn output(&self, node: &Node) -> f64 {
        output(self.rules, self.scale.stat(node.sum), self.rules.l2, node.bounds)
    }

    /// Whether a node with so many rows can have two sides.
    pub fn is_open(&self, node: &Node) -> bool {
        let stat = self.scale.stat(node.sum);
        stat.rows >= 2 * self.rules.min_rows.max(1) && stat.hessian >= 2.0 * self.rules.min_hessian
    }

    #[inline]
    fn of_side(&self, stat: Stat, l2: f64, bounds: (f64, f64)) -> f64 {
        if self.rules.constrained {
            let output = output(self.rules, stat, l2, bounds);
            let gradient = less_l1(stat.gradient, self.rules.l1);
            return -(2.0 * gradient * output + (stat.hessian + l2) * output * output);
        }
        let (gradient, hessian) = (less_l1(stat.gradient, self.rules.l1), stat.hessian + l2);
        if hessian > 0.0 { gradient * gradient / hessian } else { 0.0 }
    }

    /// What both sides gain together; none where a side is too small or the constraint is broken.
    #[inline]
    pub(super) fn gain(&self, left: Sum, node: &Node, l2: f64, direction: i8) -> Option<f64> {
        let (left, right) = (self.scale.stat(left), self.scale.stat(minus(node.sum, left)));
        let rules = self.rules;
        if left.rows.min(right.rows) < rules.min_rows.max(1) || left.hessian.min(right.hessian) < rules.min_hessian {
            return None;
        }
        if direction != 0 {
            let rise = output(rules, right, l2, node.bounds) - output(rules, left, l2, node.bounds);
            if rise * f64::from(direction) < 0.0 {
                return None;
            }
        }
        Some(self.of_side(left, l2, node.bounds) + self.of_side(right, l2, node.bounds))
    }

    /// Looks for better splits by a number: `values` are the sums of its bins; `direction` is 1 where outputs may only
    /// rise with it, -1 where they may only fall.
    pub fn by_number(
        &self,
        feature: u32,
        (values, missing): (&[Sum], Sum),
        node: &Node,
        direction: i8,
        best: &mut Best,
    ) {
        let has_missing = self.scale.rows(missing) > 0;
        let before_last = values.len().saturating_sub(1);
        let last = if has_missing { values.len() } else { before_last };
        if let Some((bin, left)) = self.scan(&values[..last], [0; 2], node, direction, best) {
            let missing = !has_missing && self.scale.rows(left) >= self.scale.rows(minus(node.sum, left));
            best.found = Some(Candidate { feature, rule: Rule::AtMost { bin, missing }, left, l2: self.rules.l2 });
        }
        if !has_missing {
            return;
        }
        if let Some((bin, left)) = self.scan(&values[..before_last], missing, node, direction, best) {
            let rule = Rule::AtMost { bin, missing: true };
            best.found = Some(Candidate { feature, rule, left, l2: self.rules.l2 });
        }
    }

    /// Looks for better splits by a number that is never missing, of which these bins have rows; a split stands in the
    /// middle of those that have none.
    pub(crate) fn by_listed(&self, feature: u32, bins: &[(u8, Sum)], node: &Node, best: &mut Best) {
        let mut left = [0; 2];
        for pair in bins.windows(2) {
            left = plus(left, pair[0].1);
            if let Some(gain) = self.gain(left, node, self.rules.l2, 0) {
                let bin = ((u16::from(pair[0].0) + u16::from(pair[1].0) - 1) / 2) as u8;
                best.offer(gain, feature, Rule::AtMost { bin, missing: false }, left, self.rules.l2);
            }
        }
    }

    /// The best split behind one of these bins, if it gains more than the best so far, whose gain is raised to that; and
    /// the sum of what goes left, which begins with `start`.
    fn scan(&self, values: &[Sum], start: Sum, node: &Node, direction: i8, best: &mut Best) -> Option<(u8, Sum)> {
        if let (0, Some(mark)) = (direction, self.mark) {
            return self.scan_promising(mark, values, start, node, best);
        }
        let (mut left, mut found) = (start, None);
        for (bin, own) in values.iter().enumerate() {
            if self.scale.rows(*own) == 0 {
                continue;
            }
            left = plus(left, *own);
            let Some(gain) = self.gain(left, node, self.rules.l2, direction) else { continue };
            if gain > best.gain {
                (best.gain, found) = (gain, Some((bin as u8, left)));
            }
        }
        found
    }

    /// The same where nothing binds outputs: only for promising bins is the gain computed.
    fn scan_promising(
        &self,
        mark: Mark,
        values: &[Sum],
        start: Sum,
        node: &Node,
        best: &mut Best,
    ) -> Option<(u8, Sum)> {
        let (mut left, mut found) = (start, None);
        for (part, values) in values.chunks(Sides::BINS).enumerate() {
            left = best.sides.fill(left, values);
            for bin in best.sides.promising(mark, best.gain) {
                let left = best.sides.left(bin);
                let Some(gain) = self.gain(left, node, self.rules.l2, 0) else { continue };
                if gain > best.gain {
                    (best.gain, found) = (gain, Some(((part * Sides::BINS + bin) as u8, left)));
                }
            }
        }
        found
    }

    /// What splits of a node have to beat.
    pub fn start(&self, node: &Node) -> Best {
        let least = self.of_side(self.scale.stat(node.sum), self.rules.l2, node.bounds) + self.rules.min_gain;
        Best { least, gain: least, found: None, sides: Sides::new(self.scale, self.rules, node.sum) }
    }

    /// The best split, if there is one, with everything that growing needs.
    pub fn found(&self, best: Best, node: &Node) -> Option<Found> {
        let Candidate { feature, rule, left, l2 } = best.found?;
        let of = |sum| output(self.rules, self.scale.stat(sum), l2, node.bounds);
        let outputs = (of(left), of(minus(node.sum, left)));
        Some(Found { gain: best.gain - best.least, feature, rule, left, outputs })
    }
}

impl Best {
    /// Takes a split that is better; a gain that is not a number is none.
    pub(super) fn offer(&mut self, gain: f64, feature: u32, rule: Rule, left: Sum, l2: f64) {
        if gain > self.gain {
            (self.gain, self.found) = (gain, Some(Candidate { feature, rule, left, l2 }));
        }
    }

    /// The better one of two of the same node; the first among equals.
    pub(super) fn or(self, other: Self) -> Self {
        if other.gain > self.gain { other } else { self }
    }

    /// Whether there is any.
    pub fn is_some(&self) -> bool {
        self.found.is_some()
    }
}

/// The output that lowers the loss most, within the bounds.
#[inline]
fn output(rules: &SplitRules, stat: Stat, l2: f64, bounds: (f64, f64)) -> f64 {
    let hessian = stat.hessian + l2;
    let best = if hessian > 0.0 { -less_l1(stat.gradient, rules.l1) / hessian } else { 0.0 };
    best.clamp(bounds.0, bounds.1)
}

#[inline]
fn less_l1(gradient: f64, l1: f64) -> f64 {
    if l1 == 0.0 { gradient } else { (gradient.abs() - l1).max(0.0).copysign(gradient) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use rand::rngs::ChaCha8Rng;
    use rand::{Rng, SeedableRng};

    pub fn rules() -> SplitRules {
        let categories = CategoryRules { one_against_rest: 4, max_members: 255, smooth: 0.0, l2: 0.0, min_group: 1 };
        SplitRules { min_rows: 2, min_hessian: 0.1, l1: 0.0, l2: 0.5, min_gain: 0.0, constrained: false, categories }
    }

    /// Rows with a byte, a gradient and a hessian; the last byte is rare, or missing.
    pub fn rows(seed: u64, count: usize, bins: u64, missing: bool) -> Vec<(u8, f64, f64)> {
        let mut stream = ChaCha8Rng::seed_from_u64(seed);
        let mut unit = || stream.next_u32() as f64 / 2f64.powi(32);
        let row = |_| {
            let byte = (unit() * bins as f64) as u8;
            let byte = if missing && byte == 0 { MISSING } else { byte };
            (byte, unit() * 2.0 - 1.0 + f64::from(byte % 3) * 0.4, 0.2 + unit())
        };
        (0..count).map(row).collect()
    }

    /// The sums of each bin, of missing values, and of the node.
    pub fn sums(rows: &[(u8, f64, f64)], bins: usize) -> (Scale, Vec<Sum>, Sum, Node) {
        let total = |of: fn(&(u8, f64, f64)) -> f64| rows.iter().map(of).sum::<f64>();
        let scale = Scale::new(total(|row| row.1.abs()), total(|row| row.2), rows.len());
        let mut table = vec![[0; 2]; 256];
        for (index, (byte, gradient, hessian)) in rows.iter().enumerate() {
            table[*byte as usize] = plus(table[*byte as usize], scale.pack(index, *gradient, *hessian));
        }
        let node = Node { sum: table.iter().copied().fold([0; 2], plus), bounds: (f64::NEG_INFINITY, f64::INFINITY) };
        (scale, table[..bins].to_vec(), table[255], node)
    }

    /// What a split by `left` gains, in plain numbers; none where a side is too small.
    pub fn plain(rules: &SplitRules, rows: &[(u8, f64, f64)], left: impl Fn(u8) -> bool) -> Option<f64> {
        let side = |wanted: bool| {
            let own: Vec<_> = rows.iter().filter(|row| left(row.0) == wanted).collect();
            let (gradient, hessian) = own.iter().fold((0.0, 0.0), |sum, row| (sum.0 + row.1, sum.1 + row.2));
            (own.len() as u64, gradient, hessian)
        };
        let score = |gradient: f64, hessian: f64| {
            let gradient: f64 = (gradient.abs() - rules.l1).max(0.0);
            gradient * gradient / (hessian + rules.l2)
        };
        let (left, right) = (side(true), side(false));
        let small = |side: (u64, f64, f64)| side.0 < rules.min_rows || side.2 < rules.min_hessian;
        if small(left) || small(right) {
            return None;
        }
        let node = score(left.1 + right.1, left.2 + right.2);
        Some(score(left.1, left.2) + score(right.1, right.2) - node - rules.min_gain)
    }

    /// The best split by a number.
    fn number(search: &Search<'_>, feature: u32, sums: (&[Sum], Sum), node: &Node, direction: i8) -> Option<Found> {
        let mut best = search.start(node);
        search.by_number(feature, sums, node, direction, &mut best);
        search.found(best, node)
    }

    #[test]
    fn the_best_split_by_a_number_is_that_of_a_full_search() {
        let mut with_split = 0;
        for seed in 0..300 {
            let (missing, bins) = (seed % 2 == 0, 2 + seed % 9);
            let rows = rows(seed, 4 + (seed as usize * 7) % 60, bins, missing);
            let mut rules = rules();
            (rules.l1, rules.min_gain) = ((seed % 3) as f64 * 0.3, (seed % 5) as f64 * 0.05);
            let (scale, values, absent, node) = sums(&rows, bins as usize);
            let found = number(&Search::new(&rules, scale), 4, (&values, absent), &node, 0);
            let candidates = (0..bins as u8).flat_map(|bin| [false, true].map(|missing| Rule::AtMost { bin, missing }));
            let best = candidates.filter_map(|rule| plain(&rules, &rows, |byte| rule.left(byte))).fold(0.0, f64::max);
            let gain = found.as_ref().map_or(0.0, |found| found.gain);
            assert!((gain - best).abs() < 1e-6, "{seed}: {gain} and not {best}");
            let Some(found) = found else { continue };
            with_split += 1;
            let own = plain(&rules, &rows, |byte| found.rule.left(byte)).unwrap();
            assert!((own - gain).abs() < 1e-6, "the rule is not what was counted");
            let left = rows.iter().filter(|row| found.rule.left(row.0));
            assert_eq!(scale.rows(found.left), left.clone().count() as u64);
            let (gradient, hessian) = left.fold((0.0, rules.l2), |sum, row| (sum.0 + row.1, sum.1 + row.2));
            let output = -(gradient.abs() - rules.l1).max(0.0).copysign(gradient) / hessian;
            assert!((found.outputs.0 - output).abs() < 1e-6);
        }
        assert!(with_split > 200, "{with_split}");
    }

    #[test]
    fn promising_bins_hold_the_split_that_all_bins_give() {
        let mut with_split = 0;
        for seed in 0..400 {
            let rows = rows(seed, 10 + (seed as usize * 13) % 400, 1 + seed * 5 % 250, seed % 3 == 0);
            let mut rules = rules();
            (rules.min_rows, rules.l2) = (1 + seed % 9, (seed % 4) as f64 * 0.5);
            (rules.min_gain, rules.min_hessian) = ((seed % 5) as f64 * 0.05, (seed % 2) as f64 * 2.0);
            let (scale, values, absent, node) = sums(&rows, 250);
            let search = Search::new(&rules, scale);
            assert!(search.mark.is_some());
            let all = Search { mark: None, ..search };
            let found = number(&search, 2, (&values, absent), &node, 0);
            assert_eq!(found, number(&all, 2, (&values, absent), &node, 0), "{seed}");
            with_split += u32::from(found.is_some());
        }
        assert!(with_split > 200, "{with_split}");
    }

    #[test]
    fn bins_without_rows_lie_between_the_sides() {
        let rules = rules();
        for seed in 0..100 {
            let rows = rows(seed, 50, 40, false);
            let (scale, values, absent, node) = sums(&rows, 40);
            let listed: Vec<(u8, Sum)> =
                (0..40).zip(values.iter().copied()).filter(|(_, sum)| scale.rows(*sum) > 0).collect();
            let search = Search::new(&rules, scale);
            let mut best = search.start(&node);
            search.by_listed(3, &listed, &node, &mut best);
            let (one, other) = (search.found(best, &node), number(&search, 3, (&values, absent), &node, 0));
            let (Some(one), Some(other)) = (one, other) else { continue };
            assert_eq!((one.gain, one.left, one.outputs), (other.gain, other.left, other.outputs));
            let Rule::AtMost { bin, .. } = one.rule else { panic!("{one:?}") };
            let below = listed.iter().rfind(|(own, _)| *own <= bin).unwrap().0;
            let above = listed.iter().find(|(own, _)| *own > bin).unwrap().0;
            assert_eq!((bin - below) as i32 - (above - 1 - bin) as i32, -i32::from((above - below) % 2 == 0));
        }
    }

    #[test]
    fn without_missing_values_they_go_with_the_larger_side() {
        let rules = rules();
        for (small, large, left) in [(10, 30, false), (30, 10, true)] {
            let rows: Vec<_> = (0..small).map(|_| (0, 1.0, 1.0)).chain((0..large).map(|_| (1, -1.0, 1.0))).collect();
            let (scale, values, absent, node) = sums(&rows, 2);
            let found = number(&Search::new(&rules, scale), 0, (&values, absent), &node, 0).unwrap();
            assert_eq!(found.rule, Rule::AtMost { bin: 0, missing: left });
        }
    }

    #[test]
    fn values_can_be_split_from_what_is_missing() {
        let rules = rules();
        let rows: Vec<_> = (0..20).map(|row| if row < 8 { (MISSING, 1.0, 1.0) } else { (0, -1.0, 1.0) }).collect();
        let (scale, values, absent, node) = sums(&rows, 1);
        let found = number(&Search::new(&rules, scale), 0, (&values, absent), &node, 0).unwrap();
        assert_eq!(found.rule, Rule::AtMost { bin: 0, missing: false });
        assert_eq!(scale.rows(found.left), 12);
    }

    #[test]
    fn constraints_and_bounds_hold() {
        let mut rules = rules();
        rules.constrained = true;
        for seed in 0..200 {
            let rows = rows(seed, 60, 6, seed % 2 == 0);
            let (scale, values, absent, mut node) = sums(&rows, 6);
            node.bounds = (-0.2, 0.15);
            for direction in [-1, 1] {
                let search = Search::new(&rules, scale);
                if let Some(found) = number(&search, 0, (&values, absent), &node, direction) {
                    let (left, right) = found.outputs;
                    assert!((right - left) * f64::from(direction) >= 0.0);
                    assert!([left, right].iter().all(|output| (-0.2..=0.15).contains(output)));
                }
            }
        }
    }
}
