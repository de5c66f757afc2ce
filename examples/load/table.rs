//! Rows of figures: a table for people, JSON for programs.

use comfy_table::{CellAlignment, Table, presets};
use serde_json::json;

use crate::run::Measured;

/// One row.
pub(crate) struct Row {
    pub(crate) what: &'static str,
    pub(crate) server: &'static str,
    pub(crate) connections: usize,
    pub(crate) measured: Measured,
    /// Of the server, where it has a process of its own.
    pub(crate) memory: Option<u64>,
}

/// Returns the rows as a table.
pub(crate) fn rows(rows: &[Row]) -> Table {
    let mut table = new(&[
        "work",
        "server",
        "at once",
        "per second",
        "p50 µs",
        "p99 µs",
        "p99.9 µs",
        "max µs",
        "CPU µs each",
        "of the ceiling",
        "memory MiB",
    ]);
    for row in rows {
        let share = ceiling(rows, row)
            .map(|ceiling| format!("{:.2}", row.measured.per_second() / ceiling.measured.per_second()));
        let latency = |quantile| row.measured.latency.value_at_quantile(quantile).to_string();
        table.add_row([
            row.what.to_owned(),
            row.server.to_owned(),
            row.connections.to_string(),
            format!("{:.0}", row.measured.per_second()),
            latency(0.5),
            latency(0.99),
            latency(0.999),
            row.measured.latency.max().to_string(),
            format!("{:.1}", row.measured.processor_micros()),
            share.unwrap_or_default(),
            row.memory.map(|bytes| format!("{:.1}", bytes as f64 / 1_048_576.0)).unwrap_or_default(),
        ]);
    }
    aligned(table, 2)
}

/// Returns the row of what doorbook's is held against.
pub(crate) fn ceiling<'a>(rows: &'a [Row], of: &Row) -> Option<&'a Row> {
    let name = if of.what == "append" { "sled" } else { "warp" };
    rows.iter().find(|row| row.what == of.what && row.connections == of.connections && row.server == name)
}

/// Returns a table without rows.
pub(crate) fn new(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(header);
    table
}

/// Puts the figures of all columns from that one on to the right.
pub(crate) fn aligned(mut table: Table, from: usize) -> Table {
    for column in table.column_iter_mut().skip(from) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Returns a row for programs.
pub(crate) fn as_json(row: &Row) -> serde_json::Value {
    let latency = &row.measured.latency;
    json!({
        "work": row.what, "server": row.server, "connections": row.connections,
        "per_second": row.measured.per_second(), "requests": latency.len(),
        "p50_us": latency.value_at_quantile(0.5), "p99_us": latency.value_at_quantile(0.99),
        "p999_us": latency.value_at_quantile(0.999), "max_us": latency.max(),
        "cpu_us": row.measured.processor_micros(), "memory_bytes": row.memory,
    })
}
