//! The compatibility page: what works of every x86-64 system call, written from the table.

use super::{Support, numbers, table};
use alloc::format;
use alloc::string::String;

/// The page as Markdown.
pub fn compatibility_page() -> String {
    let (mut full, mut partial, mut refused, mut missing) = (0, 0, 0, 0);
    let mut rows = String::new();
    for &(nr, name) in numbers::NAMES {
        let (support, note) = match table::lookup(u64::from(nr)).map(|e| e.support) {
            Some(Support::Full) => {
                full += 1;
                ("yes", "")
            }
            Some(Support::Partial(what)) => {
                partial += 1;
                ("partial", what)
            }
            Some(Support::Refused(how)) => {
                refused += 1;
                ("refused", how)
            }
            None => {
                missing += 1;
                ("no", "ENOSYS")
            }
        };
        let note = note.replace('|', "\\|");
        rows.push_str(format!("| {nr} | `{name}` | {support} | {note}").trim_end());
        rows.push_str(" |\n");
    }
    let total = numbers::NAMES.len();
    format!(
        "# System calls\n\n\
         What Bastide does with each of the {total} system calls of x86-64 Linux up to number 469. \
         This page is written from the system call table, `libos/src/syscall/table.rs`; a test \
         compares the two.\n\n\
         * **yes** ({full}): works as on Linux.\n\
         * **partial** ({partial}): works but for what the note says.\n\
         * **refused** ({refused}): exists, and always fails; the note says how and why.\n\
         * **no** ({missing}): fails with ENOSYS, as on a kernel that is older than the call.\n\n\
         Numbers that are not listed (336 to 423) belong to no call.\n\n\
         | number | call | support | note |\n\
         |---:|---|---|---|\n\
         {rows}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `BLESS=1 cargo test -p bastide-libos compatibility` writes the page anew.
    #[test]
    fn the_compatibility_page_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/COMPATIBILITY.md");
        let page = compatibility_page();
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(path, &page).unwrap();
        }
        assert!(
            std::fs::read_to_string(path).is_ok_and(|on_disk| on_disk == page),
            "libos/COMPATIBILITY.md differs from the system call table; write it anew with\n    \
             BLESS=1 cargo test -p bastide-libos compatibility"
        );
    }

    #[test]
    fn the_table_uses_linuxs_names() {
        for e in table::TABLE {
            let linux = numbers::NAMES.iter().find(|(n, _)| *n == e.nr);
            assert_eq!(linux.map(|(_, name)| *name), Some(e.name));
        }
    }
}
