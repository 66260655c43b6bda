//! What these chores print. Whoever pipes it into `head` has seen enough: that is no error.

use std::io::{Write, stdout};

/// A line.
pub fn line(text: impl AsRef<str>) {
    let mut out = stdout().lock();
    let _ = writeln!(out, "{}", text.as_ref());
    let _ = out.flush();
}

/// A heading, with room above it.
pub fn heading(text: &str) {
    let rule = "─".repeat(92_usize.saturating_sub(text.chars().count() + 4));
    line(format!("\n── {text} {rule}"));
}

/// Lines set in a little.
pub fn indented(text: &str) {
    for each in text.trim_end().lines() {
        line(format!("    {each}"));
    }
}

/// Columns, each as wide as its widest cell; the first row is the head.
pub fn table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        line(format!("    {}", cells.join("  ").trim_end()));
    }
}
