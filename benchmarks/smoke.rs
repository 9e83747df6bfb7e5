//! That a run yields a complete report. No figure is looked at: only that each is one.

use serde_json::Value;
use std::process::Command;

#[test]
fn quick_run() {
    let output = Command::new(env!("CARGO_BIN_EXE_bastide-benchmarks"))
        .args(["--quick", "--rounds", "1", "--json", "micro", "start/c"])
        .output()
        .expect("the benchmarks are built");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");

    let rows = report["rows"].as_array().expect("rows");
    for wanted in [
        "micro/getpid",
        "micro/pipe-write-read",
        "micro/stat",
        "start/c",
    ] {
        let row = rows.iter().find(|row| row["name"] == wanted);
        let row = row.unwrap_or_else(|| panic!("no row {wanted}: {said}"));
        for side in ["native", "bastide"] {
            let measured = &row["sides"][side];
            for figure in ["min", "median", "max"] {
                let figure = measured[figure].as_f64();
                assert!(figure.is_some_and(|f| f > 0.0), "{row}");
            }
            assert_eq!(
                measured["samples"].as_array().map(Vec::len),
                Some(1),
                "{row}"
            );
        }
        assert!(row["ratios"]["bastide"].as_f64().is_some(), "{row}");
    }
}
