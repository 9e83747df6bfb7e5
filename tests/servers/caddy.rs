//! Caddy, a server of files in Go.

use crate::Test;
use crate::web::{is_page, serves};
use bastide_tests::Ending;

pub const TESTS: &[Test] = &[("caddy/load", &["caddy"], under_load)];

fn under_load() {
    let log = serves("caddy", "/", Ending::Code(0), is_page);
    assert!(log.contains("shutdown complete"), "{log}");
}
