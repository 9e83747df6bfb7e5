//! What the kernel says to the person who runs it: `log`'s macros, through the platform.

use crate::pal;
use alloc::format;
use log::{LevelFilter, Log, Metadata, Record};

struct Logger;

static LOGGER: Logger = Logger;

impl Log for Logger {
    fn enabled(&self, m: &Metadata<'_>) -> bool {
        m.level() <= log::max_level()
    }

    fn log(&self, r: &Record<'_>) {
        if self.enabled(r.metadata()) {
            pal().log(format!("bastide: {}\n", r.args()).as_bytes());
        }
    }

    fn flush(&self) {}
}

/// Installs it with the configuration's level; an unknown one means `warn`.
pub fn install(level: &str) {
    // Only the first call installs anything; later ones find it done.
    let _ = log::set_logger(&LOGGER);
    log::set_max_level(level.parse().unwrap_or(LevelFilter::Warn));
}
