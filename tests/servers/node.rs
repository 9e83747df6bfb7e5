//! An HTTP server in JavaScript.

use crate::Test;
use crate::web::serves;
use bastide_tests::Ending;

pub const TESTS: &[Test] = &[("node/load", &["node"], under_load)];

fn under_load() {
    let log = serves("node", "/a?b=c", Ending::Code(0), |reply| {
        reply.status == 200 && reply.text() == "hello from node, /a?b=c\n"
    });
    assert_eq!(log, "");
}
