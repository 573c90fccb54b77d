//! Where numbers are cut: LightGBM's `GreedyFindBin` (bin.cpp, version 4), without its least count of a bin.

/// The upper edges of at most `most` bins for these values; sorts and empties them.
pub(super) fn greedy(values: &mut Vec<f64>, most: usize) -> Vec<f64> {
    values.retain(|value| value.is_finite());
    // Minus zero is zero.
    values.iter_mut().for_each(|value| *value += 0.0);
    values.sort_unstable_by(f64::total_cmp);
    let (mut distinct, mut counts): (Vec<f64>, Vec<usize>) = (Vec::new(), Vec::new());
    for value in values.drain(..) {
        if distinct.last() == Some(&value) {
            if let Some(count) = counts.last_mut() {
                *count += 1;
            }
        } else {
            distinct.push(value);
            counts.push(1);
        }
    }
    if distinct.len() <= most {
        return distinct.windows(2).map(|pair| between(pair[0], pair[1])).collect();
    }
    cuts(&counts, most).into_iter().map(|last| between(distinct[last], distinct[last + 1])).collect()
}

/// The last value (by its place) of each bin but the last one.
fn cuts(counts: &[usize], most: usize) -> Vec<usize> {
    let total: usize = counts.iter().sum();
    // Values that fill a bin alone; at most `most` of them, since they are so many rows each.
    let full = total as f64 / most as f64;
    let is_big: Vec<bool> = counts.iter().map(|count| *count as f64 >= full).collect();
    let big: Vec<usize> = counts.iter().zip(&is_big).filter(|(_, big)| **big).map(|(count, _)| *count).collect();
    let (mut bins_left, mut rows_left) = (most - big.len().min(most), total - big.iter().sum::<usize>());
    let share = |rows: usize, bins: usize| if bins == 0 { f64::INFINITY } else { rows as f64 / bins as f64 };
    let mut wanted = share(rows_left, bins_left);
    let (mut cuts, mut rows) = (Vec::new(), 0);
    for place in 0..counts.len() - 1 {
        if !is_big[place] {
            rows_left -= counts[place];
        }
        rows += counts[place];
        let before_big = is_big[place + 1] && rows as f64 >= (wanted * 0.5).max(1.0);
        if is_big[place] || rows as f64 >= wanted || before_big {
            cuts.push(place);
            if cuts.len() + 1 >= most {
                break;
            }
            rows = 0;
            if !is_big[place] {
                bins_left = bins_left.saturating_sub(1);
                wanted = share(rows_left, bins_left);
            }
        }
    }
    cuts
}

/// The middle of two values `lower < upper`, or the lower one where no double lies between them:
/// `lower <= edge < upper`.
fn between(lower: f64, upper: f64) -> f64 {
    let middle = f64::midpoint(lower, upper);
    if middle >= lower && middle < upper { middle } else { lower }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The edges, after a look at what must hold of any.
    fn check(mut values: Vec<f64>, most: usize) -> Vec<f64> {
        let all = values.clone();
        let edges = greedy(&mut values, most);
        assert!(edges.len() < most, "{} edges", edges.len());
        assert!(edges.windows(2).all(|pair| pair[0] < pair[1]));
        let mut distinct = all;
        distinct.sort_by(f64::total_cmp);
        distinct.dedup();
        for edge in &edges {
            assert!(distinct.iter().any(|value| value <= edge) && distinct.iter().any(|value| value > edge));
        }
        edges
    }

    #[test]
    fn few_values_have_a_bin_each() {
        assert_eq!(check(vec![3.0, 1.0, f64::NAN, 1.0, 2.0], 255), [1.5, 2.5]);
        assert_eq!(check(vec![0.0, -0.0], 255), [] as [f64; 0]);
        assert_eq!(check(vec![], 255), [] as [f64; 0]);
        assert_eq!(check((0..255).map(f64::from).collect(), 255).len(), 254);
    }

    #[test]
    fn many_values_share_bins_of_equal_counts() {
        let values: Vec<f64> = (0..10_000).map(f64::from).collect();
        let edges = check(values.clone(), 255);
        assert_eq!(edges.len(), 254);
        let mut start = f64::NEG_INFINITY;
        for edge in edges {
            let rows = values.iter().filter(|value| **value > start && **value <= edge).count();
            assert!((39..=40).contains(&rows), "{rows} up to {edge}");
            start = edge;
        }
    }

    #[test]
    fn a_frequent_value_has_a_bin_alone() {
        let mut values: Vec<f64> = (0..1000).map(f64::from).collect();
        values.extend(vec![500.0; 5000]);
        let edges = check(values, 16);
        assert!(edges.contains(&499.5) && edges.contains(&500.5), "{edges:?}");
        assert_eq!(edges.len(), 15);
    }

    #[test]
    fn neighbouring_doubles_are_told_apart() {
        let one = 1.0f64;
        let next = f64::from_bits(one.to_bits() + 1);
        assert_eq!(check(vec![next, one], 255), [one]);
        let (least, most) = (-f64::MAX, f64::MAX);
        assert_eq!(check(vec![least, most], 255), [0.0]);
        assert_eq!(check(vec![0.0, f64::from_bits(1)], 255), [0.0]);
    }
}
