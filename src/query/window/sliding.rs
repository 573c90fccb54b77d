//! What one operator computes, with everything shared that can be: lanes of arguments, bounds, frames, and the
//! steps from which results are made.

use super::bounds::Bound;
use super::lanes::LaneKind;
use super::rows::Order;
use super::stock::Stock;
use arrow::datatypes::DataType;
use datafusion::physical_expr::PhysicalExpr;
use std::sync::Arc;

/// The work of one operator.
#[derive(Debug)]
pub(super) struct Sliding {
    /// Partitions and order.
    pub(super) order: Order,
    /// Arguments, each once.
    pub(super) arguments: Vec<Arc<dyn PhysicalExpr>>,
    /// Lanes: which argument, in which form.
    pub(super) lanes: Vec<(usize, LaneKind)>,
    /// Starts and ends of frames.
    pub(super) bounds: Vec<Bound>,
    /// Frames: which start, which end.
    pub(super) frames: Vec<(usize, usize)>,
    /// What goes along with frames.
    pub(super) steps: Vec<Step>,
    /// Functions of DataFusion's.
    pub(super) stocks: Vec<Stock>,
    /// The columns that are added.
    pub(super) outputs: Vec<Output>,
}

/// Something that is computed row by row for one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) frame: usize,
    pub(super) kind: StepKind,
}

/// What a step computes, of which lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StepKind {
    /// How many rows.
    Rows,
    /// How many values.
    Count { lane: usize },
    /// The sum of floats.
    Floats { lane: usize },
    /// The sum of squared distances from the mean.
    Squares { lane: usize, counts: usize },
    /// The smallest key.
    Low { lane: usize },
    /// The largest key.
    High { lane: usize },
    /// The smallest decimal.
    WideLow { lane: usize },
    /// The largest decimal.
    WideHigh { lane: usize },
    /// How many different values.
    Distinct { lane: usize },
    /// What a function of DataFusion's gives.
    Stock { stock: usize },
}

/// A result column.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) kind: DataType,
    pub(super) make: Make,
}

/// How a column is made from steps and lanes. `count` is the step that tells where there is no value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Make {
    Count {
        count: usize,
    },
    Integers {
        frame: usize,
        lane: usize,
        count: usize,
    },
    Decimals {
        frame: usize,
        lane: usize,
        count: usize,
    },
    Sum {
        step: usize,
        count: usize,
    },
    Mean {
        step: usize,
        count: usize,
    },
    Spread {
        step: usize,
        count: usize,
        sample: bool,
        root: bool,
    },
    Extreme {
        step: usize,
        count: usize,
    },
    First {
        frame: usize,
        lane: usize,
    },
    Last {
        frame: usize,
        lane: usize,
    },
    /// The last value that is none; `valid` is the lane that tells which row has one.
    LastValid {
        frame: usize,
        lane: usize,
        valid: usize,
    },
    /// The number of the row in its partition.
    Number {
        count: usize,
    },
    /// What a step gives as it is.
    Stock {
        step: usize,
    },
}

impl Sliding {
    pub(super) fn new(order: Order) -> Self {
        Self {
            order,
            arguments: Vec::new(),
            lanes: Vec::new(),
            bounds: Vec::new(),
            frames: Vec::new(),
            steps: Vec::new(),
            stocks: Vec::new(),
            outputs: Vec::new(),
        }
    }

    /// How much there is of everything that can be shared.
    pub(super) fn sizes(&self) -> [usize; 5] {
        [self.arguments.len(), self.lanes.len(), self.bounds.len(), self.frames.len(), self.steps.len()]
    }

    /// Forgets what was added since there was so much, and is used by nothing.
    pub(super) fn back_to(&mut self, [arguments, lanes, bounds, frames, steps]: [usize; 5]) {
        self.arguments.truncate(arguments);
        self.lanes.truncate(lanes);
        self.bounds.truncate(bounds);
        self.frames.truncate(frames);
        self.steps.truncate(steps);
    }

    /// The lane of an argument in a form; the same again for the same.
    pub(super) fn lane(&mut self, argument: &Arc<dyn PhysicalExpr>, kind: LaneKind) -> usize {
        let argument = match self.arguments.iter().position(|known| known == argument) {
            Some(known) => known,
            None => {
                self.arguments.push(Arc::clone(argument));
                self.arguments.len() - 1
            }
        };
        once(&mut self.lanes, (argument, kind))
    }

    /// The frame between two bounds.
    pub(super) fn frame(&mut self, start: Bound, end: Bound) -> usize {
        let both = (once(&mut self.bounds, start), once(&mut self.bounds, end));
        once(&mut self.frames, both)
    }

    /// The step of a frame.
    pub(super) fn step(&mut self, frame: usize, kind: StepKind) -> usize {
        once(&mut self.steps, Step { frame, kind })
    }
}

/// The place of `item`, which is added where it is not yet there.
fn once<T: PartialEq>(all: &mut Vec<T>, item: T) -> usize {
    all.iter().position(|known| *known == item).unwrap_or_else(|| {
        all.push(item);
        all.len() - 1
    })
}
