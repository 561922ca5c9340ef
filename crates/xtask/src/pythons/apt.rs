//! A private apt: packages and sources from the mirror that the system uses, without touching the
//! system's own apt.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use super::sources::{self, Mirror};
use crate::run::{Doing, Outcome, capture};

/// A private apt: its own configuration, state and cache.
pub(super) struct Apt {
    home: PathBuf,
}

impl Apt {
    /// One that offers the packages of a suite, as if those named in `present` were installed.
    pub(super) fn for_packages(work: &Path, suite: &str, present: &[&str]) -> Outcome<Apt> {
        let mirror = mirror()?;
        let architecture = capture(Command::new("dpkg").arg("--print-architecture"))?;
        let architecture = architecture.trim();
        let stanza = |name| {
            format!(
                "Package: {name}\nStatus: install ok installed\nArchitecture: {architecture}\nVersion: 99:0\n\n"
            )
        };
        let status: String = present.iter().map(stanza).collect();
        Apt::new(work, &mirror.stanza(suite, architecture), &status)
    }

    /// One that offers the source packages of a suite.
    pub(super) fn for_sources(work: &Path, suite: &str) -> Outcome<Apt> {
        Apt::new(work, &mirror()?.source_stanza(suite), "")
    }

    fn new(work: &Path, sources: &str, status: &str) -> Outcome<Apt> {
        let home = work.join("apt");
        for part in ["state/lists/partial", "cache/archives/partial", "sources"] {
            fs::create_dir_all(home.join(part)).doing(|| "making apt's directories".to_owned())?;
        }
        let files = [
            ("apt.conf", configuration(&home)),
            ("sources/debian.sources", sources.to_owned()),
            ("state/status", status.to_owned()),
        ];
        for (name, text) in files {
            fs::write(home.join(name), text).doing(|| format!("writing apt's {name}"))?;
        }
        Ok(Apt { home })
    }

    /// Where the packages come to lie.
    pub(super) fn archives(&self) -> PathBuf {
        self.home.join("cache/archives")
    }

    /// A program of apt's, with this configuration.
    pub(super) fn command(&self, tool: &str) -> Command {
        let mut command = Command::new(tool);
        command.arg("-qq").arg("-c").arg(self.home.join("apt.conf"));
        command
    }
}

/// The mirror of a system that has what it takes.
fn mirror() -> Outcome<Mirror> {
    let path = env::var_os("PATH").unwrap_or_default();
    let there = |tool: &str| env::split_paths(&path).any(|place| place.join(tool).exists());
    if let Some(tool) = ["apt-get", "dpkg-deb", "tar"]
        .into_iter()
        .find(|tool| !there(tool))
    {
        return Err(format!(
            "this is no Debian-like machine ({tool} is missing), so they cannot be unpacked here"
        ));
    }
    sources::mirror(Path::new("/etc/apt")).ok_or_else(|| {
        "this machine's apt sources name no Debian mirror to fetch them from".to_owned()
    })
}

/// apt reads this after the system's configuration, whose proxies and keys are thereby kept,
/// and whose hooks are cleared: some images' delete the system's cache after every update.
fn configuration(home: &Path) -> String {
    let hooks = [
        "APT::Update::Pre-Invoke",
        "APT::Update::Post-Invoke",
        "APT::Update::Post-Invoke-Success",
    ];
    let cleared: String = hooks
        .iter()
        .map(|hook| format!("#clear {hook};\n"))
        .collect();
    let home = home.display();
    format!(
        "{cleared}\
         Dir::State \"{home}/state\";\n\
         Dir::State::status \"{home}/state/status\";\n\
         Dir::Cache \"{home}/cache\";\n\
         Dir::Etc::SourceList \"/dev/null\";\n\
         Dir::Etc::SourceParts \"{home}/sources\";\n\
         Dir::Etc::Preferences \"/dev/null\";\n\
         Dir::Etc::PreferencesParts \"/dev/null\";\n\
         APT::Default-Release \"\";\n\
         APT::Install-Recommends \"false\";\n\
         APT::Update::Error-Mode \"any\";\n\
         APT::Sandbox::User \"\";\n\
         Debug::NoLocking \"true\";\n"
    )
}
