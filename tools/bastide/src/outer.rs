//! Stands for the Linux backend's outer half until that exists.

use bastide_pal::BootConfig;

pub fn run(_config: BootConfig) -> Result<i32, String> {
    Err("the Linux backend is not built yet".into())
}

pub fn host_calls() -> Vec<(&'static str, &'static str)> {
    Vec::new()
}

pub fn probe() -> Vec<(String, Result<String, String>)> {
    Vec::new()
}
