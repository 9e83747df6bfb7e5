//! Links the image as a freestanding executable for the one place where it runs.

fn main() {
    let dir = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    println!("cargo:rerun-if-changed=image.ld");
    println!("cargo:rerun-if-changed=start.ld");
    println!("cargo:rustc-link-arg-bins=-L{dir}");
    println!("cargo:rustc-link-arg-bins=-Wl,-T,{dir}/image.ld");
    for arg in [
        "-nostartfiles",
        "-nostdlib",
        "-static",
        "-no-pie",
        "-Wl,-z,norelro",
        "-Wl,-z,noexecstack",
        "-Wl,--build-id=none",
        "-Wl,--no-undefined",
        "-Wl,-z,max-page-size=4096",
        "-Wl,--no-eh-frame-hdr",
    ] {
        println!("cargo:rustc-link-arg-bins={arg}");
    }
}
