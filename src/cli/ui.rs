//! The only place that prints: results to standard output, everything else to standard error.

use crate::engine::progress::Progress;
use crate::engine::receipt::ReceiptError;
use crate::error::{Error, Result};
use clap::ValueEnum;
use comfy_table::presets::{NOTHING, UTF8_FULL_CONDENSED};
use comfy_table::{CellAlignment, Table};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// One compact JSON object as the last line of standard output.
    Json,
}

/// Whether a result has been shown: there is one object for a caller's code.
static SHOWN: AtomicBool = AtomicBool::new(false);

/// Where a command's result goes.
#[derive(Debug, Clone, Copy)]
pub struct Ui {
    output: Output,
}

impl Ui {
    /// A printer of this form.
    pub fn new(output: Output) -> Self {
        Self { output }
    }

    /// Shows a result: as text for people, or as one line of JSON.
    ///
    /// # Errors
    /// `failed` where standard output can't be written; a closed pipe is no error.
    pub fn show(&self, result: &impl Serialize, text: impl FnOnce() -> String) -> Result<()> {
        SHOWN.store(true, Ordering::Relaxed);
        let text = match self.output {
            Output::Table => text(),
            Output::Json => serde_json::to_string(result)
                .map_err(|source| Error::failed("could not write the result as JSON").because(source))?,
        };
        print(text.trim_end_matches('\n').as_bytes())?;
        print(b"\n")
    }

    /// Whether the caller wants JSON.
    pub fn is_json(&self) -> bool {
        self.output == Output::Json
    }
}

/// Writes raw bytes to standard output.
///
/// # Errors
/// `failed` where it can't be written; a reader that has gone away (`| head`) is success.
pub fn print(bytes: &[u8]) -> Result<()> {
    let written = beside_the_bar(|| {
        let mut out = io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush())
    });
    match written {
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::failed("could not write to standard output").because(source))
        }
        _ => Ok(()),
    }
}

/// Tells an error once: what and where, why, what to do. A bar that is still there goes: it would stay below the
/// error as if the run went on.
pub fn error(error: &Error) {
    if let Some(bar) = BAR.get() {
        bar.finish_and_clear();
    }
    let mut text = format!("error: {error}\n");
    for cause in error.causes() {
        // A quoted line with its marker keeps its columns: it stands below, not behind a word.
        let separator = if cause.contains('\n') { '\n' } else { ' ' };
        text.push_str(&format!("  because:{separator}{}\n", cause.trim_end()));
    }
    if let Some(hint) = error.hint_text() {
        text.push_str(&format!("  hint: {hint}\n"));
    }
    // With standard error gone there is nobody left to tell.
    let _ = beside_the_bar(|| io::stderr().write_all(shown(&text).as_bytes()));
}

/// A message quotes what others wrote; none of it may steer the terminal.
fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for next in text.chars() {
        match next {
            '\n' | '\t' => shown.push(next),
            next if next.is_control() => shown.extend(next.escape_debug()),
            next => shown.push(next),
        }
    }
    shown
}

/// The same for a caller's code: one object on standard output, with the members that a failed
/// receipt has.
pub fn error_object(error: &Error) {
    // A result that was shown has the error in it.
    if SHOWN.load(Ordering::Relaxed) {
        return;
    }
    let object = serde_json::json!({ "status": "failed", "error": ReceiptError::from(error) });
    // With standard output gone there is nobody left to tell.
    let _ = print(format!("{object}\n").as_bytes());
}

/// Where log lines go.
pub fn log_writer() -> LogLines {
    LogLines
}

/// Standard error, beside a bar that may be there.
#[derive(Debug, Clone, Copy)]
pub struct LogLines;

impl Write for LogLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        beside_the_bar(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Tells something that is no result and no error.
pub fn note(text: &str) {
    let _ = beside_the_bar(|| writeln!(io::stderr(), "{text}"));
}

/// A table with a head, numbers to the right.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED).set_header(head);
    table.add_rows(rows);
    for index in 0..head.len() {
        let numeric = |row: &Vec<String>| {
            let cell = row.get(index).map_or("", String::as_str);
            cell.is_empty() || cell == "-" || cell.starts_with(|first: char| first.is_ascii_digit() || first == '-')
        };
        if !rows.is_empty()
            && rows.iter().all(numeric)
            && let Some(column) = table.column_mut(index)
        {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

/// Pairs of a name and a value, aligned.
pub fn pairs(rows: &[(&str, String)]) -> String {
    let mut table = Table::new();
    table.load_preset(NOTHING);
    for (name, value) in rows {
        table.add_row([name, value.as_str()]);
    }
    let text = table.to_string();
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// A count with thousands set apart: `872,795`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Bytes in the unit that a person would use: `12.3 MiB`.
pub fn bytes(number: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = number as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{number} B") } else { format!("{value:.1} {}", units[unit]) }
}

/// A number as a person reads it: four digits that count.
pub fn number(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || (0.1..100.0).contains(&size) {
        format!("{value:.4}")
    } else if size < 0.1 {
        format!("{value:.6}")
    } else {
        format!("{value:.1}")
    }
}

/// What a run is doing now.
#[derive(Debug, Clone, Copy)]
struct Now {
    step: &'static str,
    since: Instant,
    rows: u64,
}

impl Now {
    /// `score  123,456 rows, 41,152 rows/s`; the rate is the step's own.
    fn text(&self) -> String {
        let seconds = self.since.elapsed().as_secs_f64();
        match self.rows {
            0 => self.step.to_owned(),
            rows if seconds < 0.5 => format!("{}  {} rows", self.step, count(rows)),
            rows => format!("{}  {} rows, {} rows/s", self.step, count(rows), count((rows as f64 / seconds) as u64)),
        }
    }
}

/// The bar that is on the terminal, if there is one; whatever else is printed takes it away for a moment.
static BAR: OnceLock<ProgressBar> = OnceLock::new();

/// Does something to the terminal while no bar is drawn on it.
fn beside_the_bar<T>(work: impl FnOnce() -> T) -> T {
    match BAR.get() {
        Some(bar) if !bar.is_finished() => bar.suspend(work),
        _ => work(),
    }
}

/// Progress on standard error: one line that changes on a terminal, elsewhere one line every 30 seconds.
pub struct Meter {
    on_terminal: bool,
    now: Arc<Mutex<Now>>,
}

/// How often a run tells a log that it still lives.
const PLAIN_EVERY: Duration = Duration::from_secs(30);

impl Meter {
    /// A meter for this process's standard error; a silent one where `quiet`.
    pub fn new(quiet: bool) -> Self {
        let now = Arc::new(Mutex::new(Now { step: "", since: Instant::now(), rows: 0 }));
        let terminal = io::stderr().is_terminal();
        if !quiet && !terminal {
            let now = Arc::clone(&now);
            // Ends with the process.
            std::thread::spawn(move || tell_now_and_then(&now));
        }
        Self { on_terminal: !quiet && terminal, now }
    }

    /// Takes the bar off the terminal.
    pub fn clear(&self) {
        if let Some(bar) = BAR.get() {
            bar.finish_and_clear();
        }
    }

    /// The bar, put on the terminal by the first step: a command that has none shows none.
    fn bar(&self) -> Option<&'static ProgressBar> {
        self.on_terminal.then(|| {
            BAR.get_or_init(|| {
                let bar = ProgressBar::new_spinner();
                if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg} [{elapsed_precise}]") {
                    bar.set_style(style);
                }
                bar.enable_steady_tick(Duration::from_millis(120));
                bar
            })
        })
    }

    /// Changes what is told, and tells it.
    fn tell(&self, change: impl FnOnce(&mut Now)) {
        let Ok(mut now) = self.now.lock() else { return };
        change(&mut now);
        if let Some(bar) = self.bar() {
            bar.set_message(now.text());
        }
    }
}

/// Also a step without rows, such as a long fit, shows that the run lives.
fn tell_now_and_then(now: &Mutex<Now>) {
    let began = Instant::now();
    loop {
        std::thread::sleep(PLAIN_EVERY);
        let Ok(now) = now.lock().map(|now| *now) else { return };
        if !now.step.is_empty() {
            let _ = writeln!(io::stderr(), "{}, {} s so far", now.text(), began.elapsed().as_secs());
        }
    }
}

impl Progress for Meter {
    fn step(&self, name: &'static str) {
        self.tell(|now| *now = Now { step: name, since: Instant::now(), rows: 0 });
    }

    fn rows(&self, rows: u64) {
        self.tell(|now| now.rows = rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_bytes_read_well() {
        assert_eq!(count(872_795), "872,795");
        assert_eq!(count(12), "12");
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(20 << 20), "20.0 MiB");
    }

    #[test]
    fn a_step_tells_its_rows_and_their_rate() {
        let since = Instant::now().checked_sub(Duration::from_secs(4)).unwrap();
        assert_eq!(Now { step: "fit", since, rows: 0 }.text(), "fit");
        let rows = Now { step: "score", since, rows: 400_000 }.text();
        assert!(rows.starts_with("score  400,000 rows, ") && rows.ends_with(" rows/s"), "{rows}");
        let begun = Now { since: Instant::now(), ..Now { step: "score", since, rows: 8_192 } };
        assert_eq!(begun.text(), "score  8,192 rows");
    }
}
