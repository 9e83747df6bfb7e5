//! Totals of the calls, as `strace -c` prints them.

use crate::syscall::table;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use bastide_base::sync::Mutex;

#[derive(Clone, Copy, Default)]
struct Row {
    calls: u64,
    errors: u64,
    nanoseconds: u64,
}

static ROWS: Mutex<BTreeMap<u64, Row>> = Mutex::new(BTreeMap::new());

/// Counts one call.
pub fn count(nr: u64, failed: bool, nanoseconds: u64) {
    let mut rows = ROWS.lock();
    let row = rows.entry(nr).or_default();
    row.calls += 1;
    row.errors += u64::from(failed);
    row.nanoseconds = row.nanoseconds.saturating_add(nanoseconds);
}

/// The table, the most time-consuming call first.
pub fn report() -> String {
    let rows: Vec<(u64, Row)> = {
        let rows = ROWS.lock();
        rows.iter().map(|(n, r)| (*n, *r)).collect()
    };
    table_of(rows)
}

fn table_of(mut rows: Vec<(u64, Row)>) -> String {
    rows.sort_by_key(|(_, r)| core::cmp::Reverse(r.nanoseconds));
    let mut total = Row::default();
    for (_, r) in &rows {
        total.calls += r.calls;
        total.errors += r.errors;
        total.nanoseconds = total.nanoseconds.saturating_add(r.nanoseconds);
    }
    let mut out = String::from(
        "% time     seconds  usecs/call     calls    errors syscall\n\
         ------ ----------- ----------- --------- --------- ----------------\n",
    );
    let mut line = |name: &str, r: &Row| {
        let share = r.nanoseconds as f64 * 100.0 / total.nanoseconds.max(1) as f64;
        let seconds = r.nanoseconds as f64 / 1e9;
        let each = r.nanoseconds / 1000 / r.calls.max(1);
        let errors = if r.errors > 0 {
            format!("{}", r.errors)
        } else {
            String::new()
        };
        out.push_str(&format!(
            "{share:6.2} {seconds:11.6} {each:11} {:9} {errors:>9} {name}\n",
            r.calls
        ));
    };
    for (nr, r) in &rows {
        match table::lookup(*nr) {
            Some(e) => line(e.name, r),
            None => line(&super::unknown_name(*nr), r),
        }
    }
    line("total", &total);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_call_comes_first() {
        let row = |calls, errors, nanoseconds| Row {
            calls,
            errors,
            nanoseconds,
        };
        let t = table_of(alloc::vec![
            (41, row(2, 1, 1_000_000)),
            (42, row(1, 0, 3_000_000)),
        ]);
        let lines: Vec<&str> = t.lines().collect();
        assert_eq!(
            lines[2],
            " 75.00    0.003000        3000         1           connect"
        );
        assert_eq!(
            lines[3],
            " 25.00    0.001000         500         2         1 socket"
        );
        assert_eq!(
            lines[4],
            "100.00    0.004000        1333         3         1 total"
        );
    }
}
