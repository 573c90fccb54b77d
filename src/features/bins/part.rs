//! Bins for a part of the rows: neighbours put together, so that few rows have few bins.

use super::{FeatureBins, Kind, MISSING};

impl FeatureBins {
    /// The bins of a feature for some rows alone; `counts` has these rows of each byte. A number has at most `most`
    /// (at least 1): bins without rows join their neighbours, an edge standing in the middle of those between two that
    /// have some, and the others share the rows in about equal counts. Categories that no row has join those that
    /// training has not seen. Gives what each byte of the column becomes, too.
    pub(super) fn for_part(&self, counts: &[u32; 256], most: usize) -> (Self, [u8; 256]) {
        let mut to = [MISSING; 256];
        let kind = match &self.kind {
            Kind::Number { edges } => {
                let cuts = cuts(&counts[..=edges.len()], most);
                for (bin, to) in to[..=edges.len()].iter_mut().enumerate() {
                    *to = cuts.partition_point(|cut| *cut < bin) as u8;
                }
                Kind::Number { edges: cuts.into_iter().map(|cut| edges[cut]).collect() }
            }
            Kind::Category { bin_of, codes } => {
                let last = codes.len() - 1;
                let present: Vec<usize> = (0..last).filter(|bin| counts[*bin] > 0).collect();
                to[..=last].fill(present.len() as u8);
                for (place, bin) in present.iter().enumerate() {
                    to[*bin] = place as u8;
                }
                let mut merged: Vec<Vec<u32>> = vec![Vec::new(); present.len() + 1];
                for (bin, own) in codes.iter().enumerate() {
                    merged[usize::from(to[bin])].extend(own);
                }
                merged.iter_mut().for_each(|own| own.sort_unstable());
                Kind::Category { bin_of: bin_of.iter().map(|bin| to[usize::from(*bin)]).collect(), codes: merged }
            }
        };
        (Self { kind }, to)
    }
}

/// The last bins of all groups but the last one.
fn cuts(counts: &[u32], most: usize) -> Vec<usize> {
    let rows: usize = counts.iter().map(|count| *count as usize).sum();
    let share = rows.div_ceil(most.max(1)).max(1);
    let (mut cuts, mut sum, mut before) = (Vec::new(), 0, None);
    for (bin, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        if let (Some(before), true) = (before, sum >= share) {
            cuts.push((before + bin - 1) / 2);
            sum = 0;
        }
        sum += *count as usize;
        before = Some(bin);
    }
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_without_rows_are_joined_and_edges_stand_between_values() {
        let bins = FeatureBins::number((1..9).map(f64::from).collect()).unwrap();
        let mut counts = [0; 256];
        for (bin, count) in [(1, 4), (2, 1), (6, 3), (7, 1)] {
            counts[bin] = count;
        }
        let (few, to) = bins.for_part(&counts, 255);
        assert_eq!(few, FeatureBins::number(vec![2.0, 4.0, 7.0]).unwrap());
        assert_eq!((&to[..9], to[255]), (&[0, 0, 1, 1, 2, 2, 2, 3, 3][..], MISSING));
        // Nine rows in two bins: five in one, four in the other.
        let (few, to) = bins.for_part(&counts, 2);
        assert_eq!(few, FeatureBins::number(vec![4.0]).unwrap());
        assert_eq!(to[..9], [0, 0, 0, 0, 1, 1, 1, 1, 1]);
        for (bin, value) in [(1, 1.5), (2, 3.0), (6, 6.5), (8, 100.0)] {
            assert_eq!(few.bin(value), to[bin], "the same bin by its value");
        }
        assert_eq!(bins.for_part(&[0; 256], 9).0.bins(), 1);
    }

    #[test]
    fn there_are_never_more_bins_than_asked_for() {
        let bins = FeatureBins::number((0..254).map(f64::from).collect()).unwrap();
        for most in [1, 2, 16, 62, 255] {
            let counts: [u32; 256] = std::array::from_fn(|bin| (bin as u32 * 7919) % 5);
            let (few, _) = bins.for_part(&counts, most);
            assert!(few.bins() <= most && few.bins() >= most.min(40) / 2, "{} of {most}", few.bins());
        }
    }

    #[test]
    fn absent_categories_join_those_never_seen() {
        let bins = FeatureBins::of_codes(&[5, 9, 7]);
        let mut counts = [0; 256];
        (counts[0], counts[2]) = (3, 1);
        let (few, to) = bins.for_part(&counts, 2);
        assert_eq!((few.bins(), &to[..4]), (3, &[0, 2, 1, 2][..]));
        assert_eq!((few.codes(0), few.codes(1), few.codes(2)), (&[1][..], &[0][..], &[2, 3][..]));
        assert_eq!([0.0, 1.0, 2.0, 3.0, 9.0].map(|code| few.bin(code)), [1, 0, 2, 2, 2]);
    }
}
