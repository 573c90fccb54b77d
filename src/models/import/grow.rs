//! From the nodes of a file, which refer to each other by number, to a tree of ours.

use super::damaged;
use crate::error::Result;
use crate::forest::{Child, Missing, Rule, Tree, TreeBuilder};

/// What stands at a number of a file's tree.
pub(super) enum Part {
    /// A leaf with its values.
    Leaf(Vec<f64>),
    /// A split; its children are numbers again.
    Branch(Branch),
}

/// A split as a file has it.
pub(super) struct Branch {
    pub feature: u32,
    pub question: Question,
    pub missing: Missing,
    pub left: usize,
    pub right: usize,
}

/// What is asked at a split.
pub(super) enum Question {
    Threshold(Rule),
    /// Members go left.
    Member(Vec<u32>),
}

enum Work {
    Enter(usize),
    Join { feature: u32, rule: Rule, missing: Missing },
}

/// Walks the tree from `root`, without recursion. `seen` has a flag for each number there is, set where a split has been
/// reached: one that is reached a second time belongs to no tree. What is never reached is left out.
///
/// # Errors
/// Check: a number outside, a cycle, a split with two parents; what `part` refuses.
pub(super) fn grow(
    seen: &mut [bool],
    root: usize,
    output: Option<u32>,
    width: usize,
    mut part: impl FnMut(usize) -> Result<Part>,
) -> Result<Tree> {
    let mut builder = TreeBuilder::new(width);
    let mut work = vec![Work::Enter(root)];
    let mut done: Vec<Child> = Vec::new();
    while let Some(next) = work.pop() {
        match next {
            Work::Enter(number) => {
                let Some(seen) = seen.get_mut(number) else {
                    return Err(damaged("a tree refers to a node that does not exist").with("node", number));
                };
                match part(number)? {
                    Part::Leaf(values) if values.len() == width => done.push(builder.leaf(&values)),
                    Part::Leaf(_) => return Err(damaged("a leaf has another number of values").with("node", number)),
                    Part::Branch(branch) => {
                        if std::mem::replace(seen, true) {
                            return Err(damaged("the nodes of a tree go in circles").with("node", number));
                        }
                        let rule = match branch.question {
                            Question::Threshold(rule) => rule,
                            Question::Member(members) => Rule::Category { set: builder.set(members) },
                        };
                        work.push(Work::Join { feature: branch.feature, rule, missing: branch.missing });
                        work.push(Work::Enter(branch.right));
                        work.push(Work::Enter(branch.left));
                    }
                }
            }
            Work::Join { feature, rule, missing } => {
                let (Some(right), Some(left)) = (done.pop(), done.pop()) else {
                    return Err(damaged("a split of a tree has no children"));
                };
                done.push(builder.branch(feature, rule, missing, left, right));
            }
        }
    }
    match done.pop() {
        Some(root) => Ok(builder.finish(root, output)),
        None => Err(damaged("a tree has no node")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forest::Side;

    fn branch(left: usize, right: usize) -> Result<Part> {
        let question = Question::Threshold(Rule::at_most(0.0));
        Ok(Part::Branch(Branch { feature: 0, question, missing: Missing::Nan(Side::Right), left, right }))
    }

    #[test]
    fn deep_trees_need_no_stack() {
        let depth = 200_000;
        let tree = grow(&mut vec![false; 2 * depth + 1], 0, Some(0), 1, |number| {
            if number < depth { branch(number + 1, depth + 1 + number) } else { Ok(Part::Leaf(vec![number as f64])) }
        });
        assert_eq!(tree.unwrap().nodes().len(), depth);
    }

    #[test]
    fn circles_shared_splits_and_numbers_outside_are_refused() {
        let leaf = || Ok(Part::Leaf(vec![1.0]));
        assert!(grow(&mut [false; 3], 0, None, 1, |number| if number == 0 { branch(0, 1) } else { leaf() }).is_err());
        assert!(grow(&mut [false; 3], 0, None, 1, |number| if number < 2 { branch(1, 2) } else { leaf() }).is_err());
        assert!(grow(&mut [false; 3], 0, None, 1, |number| if number == 0 { branch(1, 3) } else { leaf() }).is_err());
        assert!(grow(&mut [false; 3], 0, None, 2, |_| leaf()).is_err());
    }
}
