//! From trees on bins to trees on values.

use super::grown::{Branch, Grown};
use super::histogram::MISSING;
use super::split::Rule as BinRule;
use crate::features::{BinnedBlock, FeatureBins};
use crate::forest::{Child, Missing, Rule, Side, Tree, TreeBuilder};

/// The tree that sends a row where its bins would go.
pub(super) fn to_tree(grown: &Grown, bins: &BinnedBlock, output: u32) -> Tree {
    let mut builder = TreeBuilder::with_capacity(1, grown.leaves.len());
    let leaves: Vec<Child> = grown.leaves.iter().map(|leaf| builder.leaf(&[leaf.output])).collect();
    // Splits stand before those below them, so the last one is built first.
    let mut nodes: Vec<Option<Child>> = vec![None; grown.nodes.len()];
    for (index, node) in grown.nodes.iter().enumerate().rev() {
        let side = |branch: Branch| match branch {
            Branch::Leaf(leaf) => leaves[leaf],
            Branch::Node(node) => nodes[node].unwrap_or(leaves[0]),
        };
        let [left, right] = node.sides.map(side);
        let feature = bins.of(node.feature as usize);
        let missing = Missing::Nan(if node.rule.left(MISSING) { Side::Left } else { Side::Right });
        let rule = match node.rule {
            BinRule::AtMost { bin, .. } => Rule::at_most(edge(feature, bin)),
            BinRule::Members(_) => {
                let bytes = (0..feature.bins()).map(|bin| bin as u8).filter(|bin| node.rule.left(*bin));
                let codes: Vec<u32> = bytes.flat_map(|bin| feature.codes(bin).iter().copied()).collect();
                Rule::Category { set: builder.set(codes) }
            }
        };
        nodes[index] = Some(builder.branch(node.feature, rule, missing, left, right));
    }
    let root = nodes.first().copied().flatten().unwrap_or(leaves[0]);
    builder.finish(root, Some(output))
}

/// The greatest value of a bin; all values are at most that of the last.
fn edge(feature: &FeatureBins, bin: u8) -> f64 {
    if usize::from(bin) + 1 < feature.bins() { feature.threshold(bin) } else { f64::INFINITY }
}
