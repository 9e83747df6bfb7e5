//! haproxy in front of two nginx, of which the host sees nothing.

use crate::Test;
use crate::web::serves;
use bastide_tests::Ending;

pub const TESTS: &[Test] = &[("haproxy/load", &["haproxy", "nginx"], under_load)];

fn under_load() {
    let log = serves("haproxy", "/", Ending::Code(0), |reply| {
        reply.status == 200 && matches!(reply.text(), "server one\n" | "server two\n")
    });
    assert!(!log.contains("DOWN") && !log.contains("bastide: "), "{log}");
}
