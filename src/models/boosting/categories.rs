//! The best split of a node by a category, as LightGBM finds it.
//!
//! Few categories are split one against the rest. Of many, those that are not too rare are put in the order of
//! gradient over hessian (Fisher 1958: then the best of all subsets is a prefix), smoothed, and prefixes are
//! tried from both ends. Missing values are a category like the others. What is not in the set goes right;
//! categories that training did not have share the bin of rare ones.

use super::histogram::{MISSING, Sum, plus};
use super::split::{Best, Node, Rule, Search};

impl Search<'_> {
    /// Looks for better splits by a category: `values` are the sums of its bins.
    pub fn by_category(&self, feature: u32, (values, missing): (&[Sum], Sum), node: &Node, best: &mut Best) {
        let categories: Vec<(u8, Sum)> = (0..MISSING)
            .zip(values.iter().copied())
            .chain([(MISSING, missing)])
            .filter(|(_, sum)| self.scale.rows(*sum) > 0)
            .collect();
        // By what the feature has (its last bin is that of rare ones), not the node: splits of one feature are all of
        // one kind.
        if values.len().saturating_sub(1) <= self.rules.categories.one_against_rest {
            self.one_against_rest(feature, &categories, node, best);
        } else {
            self.many(feature, categories, node, best);
        }
    }

    fn one_against_rest(&self, feature: u32, categories: &[(u8, Sum)], node: &Node, best: &mut Best) {
        for (byte, sum) in categories {
            if let Some(gain) = self.gain(*sum, node, self.rules.l2, 0) {
                best.offer(gain, feature, Rule::Members(bits([*byte])), *sum, self.rules.l2);
            }
        }
    }

    fn many(&self, feature: u32, mut categories: Vec<(u8, Sum)>, node: &Node, best: &mut Best) {
        let rules = &self.rules.categories;
        let l2 = self.rules.l2 + rules.l2;
        categories.retain(|(_, sum)| self.scale.rows(*sum) as f64 >= rules.smooth);
        let place = |sum: Sum| {
            let stat = self.scale.stat(sum);
            stat.gradient / (stat.hessian + rules.smooth).max(f64::MIN_POSITIVE)
        };
        categories.sort_by(|a, b| place(a.1).total_cmp(&place(b.1)));
        let most = rules.max_members.min(categories.len().div_ceil(2));
        let all = self.scale.rows(node.sum);
        for backwards in [false, true] {
            let (mut left, mut group, mut members) = ([0; 2], 0, [0; 4]);
            for index in 0..most {
                let (byte, sum) = categories[if backwards { categories.len() - 1 - index } else { index }];
                left = plus(left, sum);
                members[usize::from(byte >> 6)] |= 1 << (byte & 63);
                group += self.scale.rows(sum);
                if all - self.scale.rows(left) < self.rules.min_rows.max(rules.min_group) {
                    break;
                }
                if group < rules.min_group {
                    continue;
                }
                if let Some(gain) = self.gain(left, node, l2, 0) {
                    group = 0;
                    best.offer(gain, feature, Rule::Members(members), left, l2);
                }
            }
        }
    }
}

fn bits(bytes: impl IntoIterator<Item = u8>) -> [u64; 4] {
    bytes.into_iter().fold([0; 4], |mut bits, byte| {
        bits[usize::from(byte >> 6)] |= 1 << (byte & 63);
        bits
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::boosting::split::Found;
    use crate::models::boosting::split::tests::{plain, rows, rules, sums};

    fn category(search: &Search<'_>, sums: (&[Sum], Sum), node: &Node) -> Option<Found> {
        let mut best = search.start(node);
        search.by_category(0, sums, node, &mut best);
        search.found(best, node)
    }

    fn best(rules: &crate::models::boosting::split::SplitRules, rows: &[(u8, f64, f64)], bins: usize) -> (f64, f64) {
        let (scale, values, absent, node) = sums(rows, bins);
        let found = category(&Search::new(rules, scale), (&values, absent), &node);
        let counted = found.as_ref().and_then(|found| plain(rules, rows, |byte| found.rule.left(byte)));
        (found.map_or(0.0, |found| found.gain), counted.unwrap_or(0.0))
    }

    #[test]
    fn few_categories_are_tried_one_by_one() {
        for seed in 0..100 {
            let rows = rows(seed, 40, 4, seed % 2 == 0);
            let (gain, counted) = best(&rules(), &rows, 4);
            let of = |category: u8| plain(&rules(), &rows, |byte| byte == category);
            let wanted = (0..4).chain([255]).filter_map(of).fold(0.0, f64::max);
            assert!((gain - wanted).abs() < 1e-6 && (counted - gain).abs() < 1e-6, "{seed}: {gain} {wanted} {counted}");
        }
    }

    /// With equal hessians the best of all subsets is a prefix of the order.
    #[test]
    fn many_categories_are_split_as_well_as_by_any_subset() {
        let mut rules = rules();
        (rules.min_rows, rules.l2, rules.categories.one_against_rest) = (1, 0.0, 0);
        for seed in 0..60 {
            let mut rows = rows(seed, 80, 7, seed % 2 == 0);
            rows.iter_mut().for_each(|row| row.2 = 1.0);
            let (gain, counted) = best(&rules, &rows, 7);
            let subset = |bits: u32| plain(&rules, &rows, |byte| bits >> byte.min(7) & 1 == 1);
            let wanted = (1..255).filter_map(subset).fold(0.0, f64::max);
            assert!((gain - wanted).abs() < 1e-6 && (counted - gain).abs() < 1e-6, "{seed}: {gain} {wanted} {counted}");
        }
    }

    #[test]
    fn rare_categories_and_small_groups_are_left_aside() {
        let mut rules = rules();
        rules.categories.one_against_rest = 0;
        // Category 9 is alone and very different; the others differ little.
        let row = |index: usize| {
            if index == 0 { (9, -50.0, 1.0) } else { ((index % 8) as u8, (index % 8) as f64 * 0.1, 1.0) }
        };
        let rows: Vec<_> = (0..200).map(row).collect();
        let (scale, values, absent, node) = sums(&rows, 10);
        rules.categories.smooth = 2.0;
        let found = category(&Search::new(&rules, scale), (&values, absent), &node).unwrap();
        assert!(!found.rule.left(9), "a category of one row was put in the set");
        rules.categories.min_group = 150;
        assert_eq!(category(&Search::new(&rules, scale), (&values, absent), &node), None);
        rules.categories.min_group = 60;
        let found = category(&Search::new(&rules, scale), (&values, absent), &node).unwrap();
        assert!((60..=140).contains(&scale.rows(found.left)));
        rules.categories.max_members = 1;
        assert_eq!(category(&Search::new(&rules, scale), (&values, absent), &node), None);
    }
}
