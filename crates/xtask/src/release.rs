//! `cargo xtask build`: the command as it is released, in one file that needs nothing else.

use std::path::PathBuf;

use crate::run::{Outcome, capture, cargo, show};

pub(crate) fn run() -> Outcome {
    println!("{}", binary()?.display());
    Ok(())
}

/// Builds the command and says where it lies.
///
/// It is linked statically: so it also runs where there is another libc or none, as in a
/// container, and starts a third of a millisecond sooner.
pub(crate) fn binary() -> Outcome<PathBuf> {
    let host = capture(std::process::Command::new("rustc").arg("-vV"))?;
    let host = host.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.ok_or("rustc does not say for which machine it builds")?;
    let mut flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    flags.push_str(" -C target-feature=+crt-static");
    eprintln!("xtask: building the release binary");
    // Naming the target keeps the flags from what runs during the build itself.
    let words = [
        "build",
        "--quiet",
        "--release",
        "--locked",
        "--package",
        "invivo-cli",
        "--target",
    ];
    show(cargo().args(words).arg(host).env("RUSTFLAGS", flags.trim()))?;
    let text = capture(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&text)
        .map_err(|error| format!("reading cargo's metadata: {error}"))?;
    let target = metadata["target_directory"]
        .as_str()
        .ok_or("cargo names no target directory")?;
    Ok([target, host, "release", "invivo"].iter().collect())
}
