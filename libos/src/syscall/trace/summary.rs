//! Totals of the calls, as `strace -c` prints them.

use crate::mm::patch;
use crate::process::Task;
use crate::syscall::table;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use bastide_base::sync::Mutex;
use bastide_pal::Context;
use bastide_pal::context::Entry;

#[derive(Clone, Copy, Default)]
struct Row {
    calls: u64,
    errors: u64,
    nanoseconds: u64,
}

static ROWS: Mutex<BTreeMap<u64, Row>> = Mutex::new(BTreeMap::new());

/// Calls of one `syscall` instruction: how often it trapped, and how often it had been rewritten and
/// jumped.
#[derive(Clone, Copy, Default)]
struct Site {
    traps: u64,
    jumps: u64,
}

/// By file and offset.
static SITES: Mutex<BTreeMap<(String, u64), Site>> = Mutex::new(BTreeMap::new());

/// Counts where a call came from.
pub fn count_site(t: &Task, ctx: &Context) {
    let next = patch::shown(t, ctx.rip) as usize;
    let place = t
        .mm()
        .place_of(t, next.saturating_sub(patch::SYSCALL.len()));
    let mut sites = SITES.lock();
    let site = sites.entry(place).or_default();
    if ctx.entry == Entry::Trap as u64 {
        site.traps += 1;
    } else {
        site.jumps += 1;
    }
}

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
    let sites: Vec<_> = {
        let sites = SITES.lock();
        sites.iter().map(|(at, s)| (at.clone(), *s)).collect()
    };
    table_of(rows) + "\n" + &sites_of(sites)
}

/// Where the calls came from, the busiest site first.
fn sites_of(mut sites: Vec<((String, u64), Site)>) -> String {
    sites.sort_by_key(|(_, s)| core::cmp::Reverse(s.traps + s.jumps));
    let mut out = String::from(
        "    traps     jumps site\n\
         --------- --------- ----------------\n",
    );
    for ((name, offset), s) in &sites {
        let (traps, jumps) = (s.traps, s.jumps);
        let plus = if name.is_empty() { "" } else { "+" };
        out.push_str(&format!("{traps:9} {jumps:9} {name}{plus}{offset:#x}\n"));
    }
    out
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

    #[test]
    fn the_busiest_site_comes_first() {
        let at = |name: &str, offset| (String::from(name), offset);
        let sites = alloc::vec![
            (at("", 0x7000), Site { traps: 3, jumps: 0 }),
            (
                at("/lib/libc.so.6", 0x1234),
                Site {
                    traps: 9,
                    jumps: 100
                }
            ),
        ];
        let text = sites_of(sites);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[2], "        9       100 /lib/libc.so.6+0x1234");
        assert_eq!(lines[3], "        3         0 0x7000");
    }
}
