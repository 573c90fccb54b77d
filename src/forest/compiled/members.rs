//! Questions that no comparison of ranks answers: equality, and membership of a category.

use super::STRIP;
use super::kernel::Kernel;
use super::source::MISSING;

/// A question whose answer is worked out for all rows of a strip at once.
#[derive(Debug, Clone)]
pub(super) struct Member {
    /// The column that it looks at: wide, but of bytes for [`Test::Small`].
    pub column: u32,
    pub test: Test,
}

/// Which codes go left.
#[derive(Debug, Clone)]
pub(super) enum Test {
    /// Ranks from the first to the second; with the flag, missing values too.
    Range(u16, u16, bool),
    /// A bit for each class of a byte: lowest bits first, 1 goes left.
    Small([u8; 32]),
    /// -128 for each class that goes left, 127 for others.
    Large(Vec<i8>),
}

impl Member {
    /// What it holds in memory, in bytes.
    pub fn own_bytes(&self) -> usize {
        size_of::<Self>() + if let Test::Large(classes) = &self.test { classes.len() } else { 0 }
    }
}

impl Test {
    /// The test for up to 256 classes.
    pub fn small(members: &[bool]) -> Self {
        let mut bits = [0; 32];
        for (class, _) in members.iter().enumerate().filter(|(_, member)| **member) {
            bits[class / 8] |= 1 << (class % 8);
        }
        Self::Small(bits)
    }

    /// The test for any number of classes.
    pub fn large(members: &[bool]) -> Self {
        Self::Large(members.iter().map(|member| if *member { i8::MIN } else { i8::MAX }).collect())
    }
}

impl Member {
    /// -128 for each row that goes left, 127 for others; the columns are those of the strip.
    pub fn answer(&self, kernel: Kernel, bytes: &[[i8; STRIP]], wide: &[[u16; STRIP]], answers: &mut [i8; STRIP]) {
        let column = self.column as usize;
        match &self.test {
            Test::Small(bits) => kernel.look_up(bits, &bytes[column], answers),
            Test::Range(low, high, missing_left) => {
                for (answer, rank) in answers.iter_mut().zip(&wide[column]) {
                    let within = (rank >= low) & (rank <= high);
                    *answer = if within | (*missing_left & (*rank == MISSING)) { i8::MIN } else { i8::MAX };
                }
            }
            Test::Large(table) => {
                for (answer, class) in answers.iter_mut().zip(&wide[column]) {
                    *answer = table[usize::from(*class)];
                }
            }
        }
    }
}
