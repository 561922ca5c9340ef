//! Whether a process still runs the program that it ran.

use std::fs::File;
use std::os::unix::fs::FileExt;

use invivo_model::Result;
use rustix::fs::OFlags;

use super::Target;

/// The program that a process runs, held to be asked again and again whether it still does: each
/// time costs one system call. What follows may have everything at the same addresses, so that its
/// memory does not tell.
#[derive(Debug)]
pub struct ProgramWatch(File);

impl ProgramWatch {
    /// Whether the process runs neither another program now (`execve`) nor none at all.
    pub fn is_running(&self) -> bool {
        // The file is of the memory, and not of the process: when that memory is gone, the file
        // ends at once, and until then nothing can be read at address 0.
        !matches!(self.0.read_at(&mut [0], 0), Ok(0))
    }
}

impl Target {
    /// Opens what tells whether it still runs the program that it runs now.
    ///
    /// # Errors
    /// `Refused`, or `Gone`.
    pub fn watch_program(&self) -> Result<ProgramWatch> {
        let opened = self.process.open_file("mem", OFlags::RDONLY);
        let opened = opened.map_err(|errno| {
            let what = format!("the memory of process {} can't be opened", self.pid());
            self.process.failed(what, errno)
        });
        Ok(ProgramWatch(File::from(opened?)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_program_runs_until_another_takes_its_place() {
        let mut child = Command::new("sh")
            .args(["-c", "read line; exec cat"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("a shell");
        let target = Target::open(child.id()).expect("it is there");
        let until = Instant::now() + Duration::from_secs(60);
        let runs = |name: &str| {
            let path = target.executable().unwrap_or_default();
            path.file_name().is_some_and(|file| file == name)
        };
        // It is a copy of us until it has become a shell.
        while runs("cat") || target.executable().ok() == std::env::current_exe().ok() {
            assert!(Instant::now() < until, "no shell");
        }
        let watch = target.watch_program().expect("ours");
        assert!(watch.is_running());
        let mut input = child.stdin.take().expect("a pipe");
        input.write_all(b"go\n").expect("a reader");
        while watch.is_running() {
            assert!(Instant::now() < until, "it is not noticed");
        }
        let second = target.watch_program().expect("ours");
        assert!(second.is_running(), "the next one is another");
        drop(input);
        while second.is_running() {
            assert!(Instant::now() < until, "its end is not noticed");
        }
        child.wait().expect("its end");
    }
}
