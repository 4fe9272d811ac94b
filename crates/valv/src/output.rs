//! What the person at the keyboard reads.

use std::fmt;
use std::io::{self, Write};

/// A refusal with a way out.
#[derive(Debug)]
pub struct Problem {
    what: String,
    way_out: Option<String>,
    usage: bool,
}

impl Problem {
    /// What went wrong.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), way_out: None, usage: false }
    }

    /// A mistake in arguments or configuration: exit code 2.
    pub fn usage(what: impl Into<String>) -> Self {
        Self { usage: true, ..Self::new(what) }
    }

    /// What to do next.
    #[must_use]
    pub fn way_out(mut self, way_out: impl Into<String>) -> Self {
        self.way_out = Some(way_out.into());
        self
    }

    /// The text alone, without the word `error` before it.
    pub fn plain(&self) -> String {
        match &self.way_out {
            Some(way_out) => format!("{}\n  next: {way_out}", self.what),
            None => self.what.clone(),
        }
    }

    /// 2 for mistakes of the caller's, 1 otherwise (sysexits' 64 and above are not used by clap either).
    pub fn exit_code(&self) -> u8 {
        if self.usage { 2 } else { 1 }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        match &self.way_out {
            Some(way_out) => write!(f, "\n  next: {way_out}"),
            None => Ok(()),
        }
    }
}

impl From<valv_model::Error> for Problem {
    fn from(error: valv_model::Error) -> Self {
        Self::new(error.to_string())
    }
}

/// What every command returns.
pub type Result<T> = std::result::Result<T, Problem>;

/// Prints a refusal to standard error. A closed stream is nobody to tell.
pub fn problem(problem: &Problem) {
    let _ = writeln!(io::stderr().lock(), "{problem}");
}

/// Prints a line to standard output; a reader that has gone away (`| head`) is no error.
pub fn line(text: impl fmt::Display) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}

/// Prints progress to standard error, so that standard output stays what was asked for.
pub fn progress(text: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Prints rows in aligned columns; the first row is the heading.
pub fn table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|t| t.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(text, width)| format!("{text:width$}"));
        line(cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}
