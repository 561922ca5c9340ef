//! A private apt: packages and sources from the mirror that the system uses, without touching the
//! system's own apt.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use crate::run::{Doing, Outcome, capture};
use crate::sources::{self, Mirror};

/// A private apt: its own configuration, state and cache.
pub(crate) struct Apt {
    home: PathBuf,
}

impl Apt {
    /// One that offers the packages of a suite, as if those named in `present` were installed.
    pub(crate) fn for_packages(work: &Path, suite: &str, present: &[&str]) -> Outcome<Apt> {
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

    /// One that offers the packages of the suite that the system is of, as if what the system has
    /// were installed.
    pub(crate) fn for_system(work: &Path) -> Outcome<Apt> {
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let suite = release
            .lines()
            .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
            .ok_or("/etc/os-release does not say which suite of Debian this is")?;
        let mirror = mirror()?;
        let architecture = capture(Command::new("dpkg").arg("--print-architecture"))?;
        let status = fs::read_to_string("/var/lib/dpkg/status")
            .doing(|| "reading which packages are installed".to_owned())?;
        Apt::new(
            work,
            &mirror.stanza(suite.trim_matches('"'), architecture.trim()),
            &status,
        )
    }

    /// One that offers the source packages of a suite.
    pub(crate) fn for_sources(work: &Path, suite: &str) -> Outcome<Apt> {
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

    /// Fetches what there is to be had.
    pub(crate) fn update(&self) -> Outcome {
        capture(self.command("apt-get").arg("update")).map(drop)
    }

    /// Fetches packages with all they need: their files.
    pub(crate) fn download<'a>(
        &self,
        packages: impl IntoIterator<Item = &'a str>,
    ) -> Outcome<Vec<PathBuf>> {
        let mut command = self.command("apt-get");
        command.args(["install", "--yes", "--download-only"]);
        capture(command.args(packages))?;
        let archives = self.home.join("cache/archives");
        let entries =
            fs::read_dir(&archives).doing(|| format!("reading {}", archives.display()))?;
        let files = entries.flatten().map(|entry| entry.path());
        Ok(files
            .filter(|file| file.extension().is_some_and(|e| e == "deb"))
            .collect())
    }

    /// A program of apt's, with this configuration.
    pub(crate) fn command(&self, tool: &str) -> Command {
        let mut command = Command::new(tool);
        command.arg("-qq").arg("-c").arg(self.home.join("apt.conf"));
        command
    }
}

/// Unpacks packages into a directory that is laid out like a root file system.
pub(crate) fn unpack(packages: &[PathBuf], root: &Path, without: &[&str]) -> Outcome {
    lay_out(root)?;
    packages
        .iter()
        .try_for_each(|package| extract(package, root, without))
}

/// The links that a merged `/usr` has at its top, without which nothing in it starts.
fn lay_out(root: &Path) -> Outcome {
    for part in ["bin", "sbin", "lib", "lib64"] {
        fs::create_dir_all(root.join("usr").join(part)).doing(|| format!("making usr/{part}"))?;
        std::os::unix::fs::symlink(format!("usr/{part}"), root.join(part))
            .doing(|| format!("linking {part}"))?;
    }
    Ok(())
}

fn extract(package: &Path, root: &Path, without: &[&str]) -> Outcome {
    let doing = || format!("unpacking {}", package.display());
    let mut archive = Command::new("dpkg-deb");
    archive
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped());
    let mut archive = archive.spawn().doing(doing)?;
    let stream = archive.stdout.take().ok_or_else(doing)?;
    let mut tar = Command::new("tar");
    tar.arg("--extract").arg("--directory").arg(root);
    tar.args(["--no-same-owner", "--keep-directory-symlink"]);
    tar.args(without.iter().map(|pattern| format!("--exclude={pattern}")));
    let unpacked = tar.stdin(stream).status().doing(doing)?;
    let read = archive.wait().doing(doing)?;
    if unpacked.success() && read.success() {
        Ok(())
    } else {
        Err(doing())
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
