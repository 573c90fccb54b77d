//! The loops in which forests spend their time, once for each instruction set.
//!
//! *Walk* finds the leaf of every row of a strip in one tree; *join* looks the leaf's value up and
//! joins it to the row's aggregate, in `f64`; *look up* answers whether categories are members. All
//! are exact, so that all instruction sets give the same bytes.
//!
//! | instructions | needs | walk | join |
//! |---|---|---|---|
//! | `Avx512Vbmi` | AVX-512 F, BW, VBMI | 64 rows an instruction | tables in registers, 64 rows at a time |
//! | `Avx512` | AVX-512 F, BW | 64 rows | row by row |
//! | `Avx2` | AVX2 | 32 rows | row by row |
//! | `Neon` | NEON | 16 rows | row by row |
//! | `Portable` | nothing | what the compiler makes of it | row by row |

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

use super::program::LeafTable;
use super::source::Source;
use super::{BLOCK, STRIP};
use crate::forest::Aggregation;

/// One split of a tree, as the kernels do it: rows that stand at the leaf `at` and whose byte is
/// greater than `bin` go on to the leaf `to`.
///
/// Leaves are numbered from left to right, all rows begin at leaf 0, and a split comes before those
/// below it. A row stands at the leftmost leaf of the part of the tree that it has reached, so it
/// reaches the split if and only if it stands at the leftmost leaf below it; `to` is the leftmost leaf
/// of the right side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub column: u32,
    pub bin: i8,
    pub at: u8,
    pub to: u8,
}

/// The instruction sets for which there are kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instructions {
    /// AVX-512 with byte permutations (Ice Lake, Zen 4 and later).
    Avx512Vbmi,
    /// AVX-512 without them (Skylake to Cascade Lake).
    Avx512,
    /// AVX2 (Haswell, Zen and later).
    Avx2,
    /// NEON (all 64-bit ARM).
    Neon,
    /// Whatever the compiler's own target has.
    Portable,
}

impl Instructions {
    const ALL: [Self; 5] = [Self::Avx512Vbmi, Self::Avx512, Self::Avx2, Self::Neon, Self::Portable];

    /// Those that this machine has, the fastest first; never empty.
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|own| own.is_available()).collect()
    }

    /// The fastest that this machine has.
    pub fn best() -> Self {
        Self::ALL.into_iter().find(|own| own.is_available()).unwrap_or(Self::Portable)
    }

    /// Whether this machine has them.
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vbmi => Self::Avx512.is_available() && is_x86_feature_detected!("avx512vbmi"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            Self::Portable => true,
            _ => false,
        }
    }
}

/// Kernels that this machine can run: the one way to call them, so that none runs where it can't.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kernel(Instructions);

impl Kernel {
    /// The kernels for these instructions, or the portable ones where the machine lacks them.
    pub fn new(instructions: Instructions) -> Self {
        Self(if instructions.is_available() { instructions } else { Instructions::Portable })
    }

    /// Trees with more leaves are walked faster row by row.
    pub fn most_leaves(self) -> usize {
        if self.0 == Instructions::Portable { 1024 } else { 4096 }
    }

    /// Whether leaf tables are looked up as planes of bytes.
    pub fn wants_planes(self) -> bool {
        self.0 == Instructions::Avx512Vbmi
    }

    /// Where each row of a block stands among the block's aggregates.
    pub fn order(self) -> [u8; BLOCK] {
        #[cfg(target_arch = "x86_64")]
        if self.wants_planes() {
            return avx512::order();
        }
        std::array::from_fn(|row| row as u8)
    }

    /// [`Source::fill`], compiled for the instructions.
    pub fn fill(self, source: &Source, values: &[f64], bytes: &mut [[i8; STRIP]], wide: &mut [[u16; STRIP]]) {
        match self.0 {
            // SAFETY: `new` has seen that the machine has these instructions.
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512Vbmi | Instructions::Avx512 => unsafe { avx512::fill(source, values, bytes, wide) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => unsafe { avx2::fill(source, values, bytes, wide) },
            _ => source.fill(values, bytes, wide),
        }
    }

    /// Leaves of the rows of the first `blocks` blocks; others hold anything afterwards.
    pub fn walk(self, steps: &[Step], columns: &[[i8; STRIP]], blocks: usize, leaves: &mut [u8; STRIP]) {
        match self.0 {
            // SAFETY: `new` has seen that the machine has these instructions.
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512Vbmi | Instructions::Avx512 => unsafe { avx512::walk(steps, columns, blocks, leaves) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => unsafe { avx2::walk(steps, columns, blocks, leaves) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Instructions::Neon => unsafe { neon::walk(steps, columns, blocks, leaves) },
            _ => portable::walk(steps, columns, blocks, leaves),
        }
    }

    /// -128 for each class whose bit is set, 127 for others.
    pub fn look_up(self, bits: &[u8; 32], classes: &[i8; STRIP], answers: &mut [i8; STRIP]) {
        match self.0 {
            // SAFETY: `new` has seen that the machine has these instructions.
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512Vbmi | Instructions::Avx512 => unsafe { avx512::look_up(bits, classes, answers) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => unsafe { avx2::look_up(bits, classes, answers) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Instructions::Neon => unsafe { neon::look_up(bits, classes, answers) },
            _ => portable::look_up(bits, classes, answers),
        }
    }

    /// Joins the values of the rows' leaves to their aggregates, which stand in [`order`](Self::order).
    pub fn join(self, table: &LeafTable, aggregation: Aggregation, leaves: &[u8], aggregates: &mut [f64]) {
        match self.0 {
            // SAFETY: `new` has seen that the machine has these instructions.
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512Vbmi => unsafe { avx512::join(table, aggregation, leaves, aggregates) },
            _ => portable::join(table, aggregation, leaves, aggregates),
        }
    }
}
