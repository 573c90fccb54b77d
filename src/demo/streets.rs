//! Which terminals lie around a place, without measuring the way to each of them.

use super::stream::Stream;

/// The side of the square on which everybody lives.
pub(super) const SIDE: f64 = 100.0;

/// Tries before the terminals in reach are counted one by one.
const TRIES: usize = 24;

/// Terminals by the cell of a square grid; a cell is at least as wide as a customer's reach, so that all
/// terminals in reach lie in the nine cells around the customer.
pub(super) struct Streets {
    cells: usize,
    reach: f64,
    /// Where a cell's terminals start in `terminals`, row by row; one more than there are cells.
    starts: Vec<u32>,
    terminals: Vec<u32>,
    places: Vec<[f64; 2]>,
}

impl Streets {
    /// Sorts terminals, given by their places in `[0, SIDE)`, into cells. The reach is 5 where there are 10,000
    /// terminals, as in the handbook, and shrinks as they get denser: a customer always knows about 78.
    pub(super) fn of(places: Vec<[f64; 2]>) -> Self {
        let reach = (5.0 * (10_000.0 / places.len().max(1) as f64).sqrt()).min(SIDE);
        let cells = ((SIDE / reach) as usize).max(1);
        let mut streets =
            Self { cells, reach, starts: vec![0; cells * cells + 1], terminals: vec![0; places.len()], places };
        let cell_of: Vec<usize> = streets.places.iter().map(|&place| streets.cell(place)).collect();
        for &cell in &cell_of {
            streets.starts[cell + 1] += 1;
        }
        for cell in 1..streets.starts.len() {
            streets.starts[cell] += streets.starts[cell - 1];
        }
        let mut next = streets.starts.clone();
        for (terminal, &cell) in cell_of.iter().enumerate() {
            streets.terminals[next[cell] as usize] = terminal as u32;
            next[cell] += 1;
        }
        streets
    }

    fn column(&self, coordinate: f64) -> usize {
        ((coordinate / SIDE * self.cells as f64) as usize).min(self.cells - 1)
    }

    fn cell(&self, place: [f64; 2]) -> usize {
        self.column(place[1]) * self.cells + self.column(place[0])
    }

    fn is_near(&self, terminal: u32, place: [f64; 2]) -> bool {
        let [x, y] = self.places[terminal as usize];
        (x - place[0]) * (x - place[0]) + (y - place[1]) * (y - place[1]) < self.reach * self.reach
    }

    /// The terminals of the cells around `place`, as three runs (one a row of cells).
    fn around(&self, place: [f64; 2]) -> [&[u32]; 3] {
        let (column, row) = (self.column(place[0]), self.column(place[1]) as isize);
        let (left, right) = (column.saturating_sub(1), (column + 1).min(self.cells - 1));
        [row - 1, row, row + 1].map(|row| {
            if row < 0 || row as usize >= self.cells {
                return &[][..];
            }
            let first = row as usize * self.cells;
            &self.terminals[self.starts[first + left] as usize..self.starts[first + right + 1] as usize]
        })
    }

    /// A random one of the terminals in reach of `place`, each as likely as the others; `None` where there is none.
    pub(super) fn pick(&self, place: [f64; 2], stream: &mut Stream) -> Option<u32> {
        let runs = self.around(place);
        let count = runs.iter().map(|run| run.len()).sum::<usize>() as u32;
        if count == 0 {
            return None;
        }
        // About a third of the terminals around are in reach, so a few tries find one.
        for _ in 0..TRIES {
            let mut index = stream.below(count) as usize;
            for run in runs {
                match run.get(index) {
                    Some(&terminal) if self.is_near(terminal, place) => return Some(terminal),
                    Some(_) => break,
                    None => index -= run.len(),
                }
            }
        }
        let near: Vec<u32> = runs.concat().into_iter().filter(|&terminal| self.is_near(terminal, place)).collect();
        if near.is_empty() { None } else { near.get(stream.below(near.len() as u32) as usize).copied() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::stream::Purpose;
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn exactly_the_terminals_in_reach_are_picked() {
        let mut stream = Stream::open(5, Purpose::Terminal, 0, 0);
        let places: Vec<[f64; 2]> =
            (0..2_000).map(|_| [stream.between(0.0, SIDE), stream.between(0.0, SIDE)]).collect();
        let streets = Streets::of(places.clone());
        for place in [[50.0, 50.0], [0.0, 0.0], [99.9, 40.0], [12.0, 99.99]] {
            let expected: BTreeSet<u32> = (0..2_000).filter(|&terminal| streets.is_near(terminal, place)).collect();
            let picked: BTreeSet<u32> = (0..20_000).filter_map(|_| streets.pick(place, &mut stream)).collect();
            assert_eq!(picked, expected, "around {place:?}");
        }
    }

    #[test]
    fn where_nothing_is_near_nothing_is_picked() {
        let mut stream = Stream::open(5, Purpose::Terminal, 0, 0);
        let mut places = vec![[1.0, 1.0]; 20_000];
        places.push([50.0, 50.0]);
        let streets = Streets::of(places);
        assert_eq!(streets.pick([90.0, 90.0], &mut stream), None);
        assert_eq!(streets.pick([50.5, 50.5], &mut stream), Some(20_000));
    }
}
