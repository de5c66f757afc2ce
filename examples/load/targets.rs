//! What was to be reached, and whether it was: a row for each promise that the figures can judge.

use comfy_table::Table;

use crate::growth::Cost;
use crate::report::Report;
use crate::table::{self, Row};

/// One promise, held against what was measured.
struct Target {
    work: String,
    wanted: String,
    found: String,
    reached: bool,
}

/// Returns the table of all promises that something was measured for.
pub(crate) fn table(report: &Report) -> Table {
    let mut all = Vec::new();
    of_checks(&report.rows, &mut all);
    of_writing(&report.rows, &mut all);
    of_reading(&report.costs, &mut all);
    of_memory(&report.costs, &mut all);
    let mut table = table::new(&["work", "wanted", "measured", "reached"]);
    for Target { work, wanted, found, reached } in all {
        table.add_row([work, wanted, found, if reached { "yes" } else { "**no**" }.to_owned()]);
    }
    table
}

fn of_checks(rows: &[Row], all: &mut Vec<Target>) {
    for row in rows.iter().filter(|row| row.server == "doorbook" && ["check", "forward"].contains(&row.what))
    {
        let Some(ceiling) = table::ceiling(rows, row) else { continue };
        let work = format!("{}, {} at once", row.what, row.connections);
        let share = row.measured.per_second() / ceiling.measured.per_second();
        all.push(at_least(&work, "of the requests of bare warp", share, 0.9));
        let times = row.measured.processor_micros() / ceiling.measured.processor_micros();
        all.push(at_most(&work, "× the CPU time of bare warp", times, 1.15));
    }
    let p99 = |what: &str| {
        rows.iter().find(|row| row.what == what).map(|row| row.measured.latency.value_at_quantile(0.99))
    };
    if let (Some(alone), Some(beside)) = (p99("check, alone"), p99("check, beside 64 sign-ins/s")) {
        let times = beside as f64 / alone.max(1) as f64;
        all.push(at_most("p99 of a check while sign-ins are written", "× of that without", times, 1.5));
    }
}

fn of_writing(rows: &[Row], all: &mut Vec<Target>) {
    for row in rows.iter().filter(|row| row.server == "doorbook" && row.what == "append") {
        let Some(ceiling) = table::ceiling(rows, row) else { continue };
        let share = row.measured.per_second() / ceiling.measured.per_second();
        let work = format!("durable append, {} waiting", row.connections);
        all.push(at_least(&work, "of bare sled", share, 0.85));
    }
    for row in rows.iter().filter(|row| row.what == "sign-in") {
        let millis = row.measured.processor_micros() / 1_000.0;
        let work = format!("a complete sign-in, {} at once", row.connections);
        all.push(at_most(&work, "ms of CPU time", millis, 1.0));
    }
}

fn of_reading(costs: &[Cost], all: &mut Vec<Target>) {
    let Some(longest) = costs.iter().max_by_key(|cost| cost.reading.records) else { return };
    let reading = &longest.reading;
    let records = reading.records;
    let share = reading.replay / reading.sled;
    all.push(at_least(&format!("replay of {records} records"), "of sled's iteration", share, 0.85));
    let millions = reading.fold / 1e6;
    all.push(at_least("the fold alone, one core", "million records/s", millions, 1.0));
    all.push(at_least("the fold beside the reading", "× sled's iteration", reading.fold / reading.sled, 1.0));
    let verified = records as f64 / longest.audit_verify.as_secs_f64();
    all.push(at_least("audit verify", "of SHA-256 of the same bytes", verified / reading.sha256, 0.5));
    let millis = |duration: std::time::Duration| duration.as_secs_f64() * 1e3;
    let of = |question: &str| format!("{question}, {records} records");
    all.push(at_most(&of("audit log --user"), "ms", millis(longest.audit_user), 300.0));
    all.push(at_most(&of("audit state --at"), "ms", millis(longest.audit_state), 300.0));
    let times = longest.disk as f64 / reading.bytes as f64;
    all.push(at_most("bytes on disk", "× the bytes of the records", times, 1.8));
    all.push(at_most("the record of a returning sign-in", "bytes", reading.returning as f64, 600.0));
    all.push(at_most("the record of a session that is seen", "bytes", reading.seen as f64, 200.0));
}

fn of_memory(costs: &[Cost], all: &mut Vec<Target>) {
    let Some(largest) = costs.iter().max_by_key(|cost| cost.size.sessions()) else { return };
    let work = format!("start with {} sessions and a stored state", largest.size.sessions());
    all.push(at_most(&work, "s", largest.start_stored.as_secs_f64(), 2.0));
    if let Some((session, user)) = each(costs) {
        all.push(at_most("memory of a session, everything included", "bytes", session, 600.0));
        all.push(at_most("memory of a user, everything included", "bytes", user, 1_024.0));
    }
}

/// Returns what one session and one user take, from three towns that have them in different proportions.
fn each(costs: &[Cost]) -> Option<(f64, f64)> {
    let smallest = costs.iter().min_by_key(|cost| cost.memory)?;
    let (many, few) = costs.iter().find_map(|many| {
        let few = costs.iter().find(|few| {
            few.size.sessions() == many.size.sessions()
                && few.size.people < many.size.people
                && few.size.records == 0
        });
        Some((many, few?))
    })?;
    // What a server takes in which next to nobody is.
    let empty = Some(smallest).filter(|town| town.size.sessions() * 50 <= few.size.sessions())?;
    let user = (many.memory as f64 - few.memory as f64) / (many.size.people - few.size.people) as f64;
    let of_sessions = few.memory as f64 - empty.memory as f64 - few.size.people as f64 * user;
    Some((of_sessions / few.size.sessions() as f64, user))
}

fn at_least(work: &str, unit: &str, found: f64, wanted: f64) -> Target {
    target(work, &format!("≥ {wanted} {unit}"), found, found >= wanted)
}

fn at_most(work: &str, unit: &str, found: f64, wanted: f64) -> Target {
    target(work, &format!("≤ {wanted} {unit}"), found, found <= wanted)
}

fn target(work: &str, wanted: &str, found: f64, reached: bool) -> Target {
    let found = if found < 10.0 { format!("{found:.3}") } else { format!("{found:.0}") };
    Target { work: work.to_owned(), wanted: wanted.to_owned(), found, reached }
}
