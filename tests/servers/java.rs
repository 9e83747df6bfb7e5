//! An HTTP server in Java.

use crate::Test;
use crate::web::serves;
use bastide_tests::Ending;

pub const TESTS: &[Test] = &[("java/load", &["java", "javac"], under_load)];

fn under_load() {
    let log = serves("java", "/a?b=c", Ending::Code(143), |reply| {
        reply.status == 200 && reply.text() == "hello from java, /a?b=c\n"
    });
    assert_eq!(log, "");
}
