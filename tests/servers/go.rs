//! An HTTP server in Go, compiled inside.

use crate::Test;
use crate::web::serves;
use bastide_tests::Ending;

pub const TESTS: &[Test] = &[("go/load", &["go"], under_load)];

fn under_load() {
    let log = serves("go", "/a?b=c", Ending::Code(0), |reply| {
        reply.status == 200 && reply.text() == "hello from go, /a?b=c\n"
    });
    assert_eq!(log, "");
}
