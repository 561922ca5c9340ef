//! Root file systems of a target's own, made from an unpacked interpreter.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, io};

use tempfile::TempDir;

use crate::interpreters::{Interpreter, Prefix, workspace};

/// A directory that looks like a small machine with one Python; removed on drop.
///
/// Its files are hard links or copies, its directories are its own: a test may change what it
/// likes in `/tmp`, `/var/tmp`, `/dev/shm`, `/run`, and replace any file.
#[derive(Debug)]
pub struct Root {
    directory: TempDir,
}

impl Root {
    /// A root to `chroot` or `pivot_root` into; the interpreter is `Prefix::program`.
    ///
    /// # Panics
    /// If the interpreter was not unpacked by `cargo xtask pythons`, or the file system refuses.
    pub fn new(interpreter: &Interpreter) -> Root {
        let parent = workspace().join("target/synth");
        fs::create_dir_all(&parent).expect("making target/synth");
        Root::populated(interpreter, &parent)
    }

    /// One in the system's directory for temporary files, which every user can reach, whatever
    /// the permissions above the workspace are; and a program in it that starts without `chroot`.
    ///
    /// # Panics
    /// As [`Root::new`].
    pub fn reachable(interpreter: &Interpreter) -> (Root, PathBuf) {
        let root = Root::populated(interpreter, &env::temp_dir());
        let prefix = prefix(interpreter);
        let here = |path: &Path| root.outside(path);
        let program = here(&prefix.program);
        let patchelf = || {
            let mut command = Command::new(prefix.outside(&prefix.loader));
            command
                .arg("--library-path")
                .arg(prefix.outside(&prefix.libraries));
            command.arg(prefix.outside(Path::new("/usr/bin/patchelf")));
            command
        };
        // In two calls, as patchelf 0.18 needs it, on a file that is no longer a hard link.
        fs::remove_file(&program).expect("replacing the program");
        copy_program(&prefix.outside(&prefix.program), &program);
        run(patchelf()
            .args(["--force-rpath", "--set-rpath"])
            .arg(here(&prefix.libraries))
            .arg(&program));
        run(patchelf()
            .arg("--set-interpreter")
            .arg(here(&prefix.loader))
            .arg(&program));
        (root, program)
    }

    /// The directory, in the host's view.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Where `inside`, a path in the root's own view, lies in the host's view.
    pub fn outside(&self, inside: &Path) -> PathBuf {
        self.path().join(inside.strip_prefix("/").unwrap_or(inside))
    }

    fn populated(interpreter: &Interpreter, parent: &Path) -> Root {
        let prefix = prefix(interpreter);
        let directory = tempfile::Builder::new()
            .prefix("root-")
            .tempdir_in(parent)
            .expect("making a root");
        let root = Root { directory };
        fs::set_permissions(root.path(), Permissions::from_mode(0o755)).expect("opening the root");
        let from = prefix.root.join("usr");
        let wanted = |path: &Path| wanted(interpreter, path);
        copy(&from, &root.path().join("usr"), &|path| {
            wanted(path.strip_prefix(&prefix.root).unwrap_or(path))
        });
        for link in ["bin", "lib", "lib64"] {
            symlink(format!("usr/{link}"), root.path().join(link)).expect("linking");
        }
        for (place, mode) in [("etc", 0o755), ("proc", 0o555), ("run", 0o755)] {
            make(&root.path().join(place), mode);
        }
        for place in ["tmp", "var/tmp", "dev/shm"] {
            make(&root.path().join(place), 0o1777);
        }
        root
    }
}

fn prefix(interpreter: &Interpreter) -> &Prefix {
    let name = &interpreter.name;
    interpreter
        .prefix
        .as_ref()
        .unwrap_or_else(|| panic!("Python {name} was not unpacked here, so it has no root"))
}

/// Whether a path of the prefix is needed to run this one interpreter.
fn wanted(interpreter: &Interpreter, path: &Path) -> bool {
    let parts: Vec<_> = path.iter().filter_map(|part| part.to_str()).collect();
    let minor = interpreter.name.trim_end_matches(['t', 'd']);
    match parts.as_slice() {
        ["usr", part] => ["bin", "lib", "lib64"].contains(part),
        ["usr", "bin", file] => *file == format!("python{}", interpreter.name),
        ["usr", "lib", part] if part.starts_with("python") => *part == format!("python{minor}"),
        ["usr", "lib", _, part] => ![
            "config-",
            "libpython",
            "gconv",
            "test",
            "idlelib",
            "ensurepip",
        ]
        .iter()
        .any(|no| part.starts_with(no)),
        ["usr", "lib", _, "lib-dynload", file] => interpreter.debug == file.contains("d-"),
        _ => true,
    }
}

fn copy(from: &Path, to: &Path, wanted: &dyn Fn(&Path) -> bool) {
    make(to, 0o755);
    for entry in fs::read_dir(from).expect("reading the prefix") {
        let path = entry.expect("reading the prefix").path();
        if !wanted(&path) {
            continue;
        }
        let to = to.join(path.file_name().unwrap_or_default());
        let kind = fs::symlink_metadata(&path)
            .expect("reading the prefix")
            .file_type();
        if kind.is_dir() {
            copy(&path, &to, wanted);
        } else if kind.is_symlink() {
            symlink(fs::read_link(&path).expect("reading a link"), &to).expect("making a link");
        } else {
            link_or_copy(&path, &to).unwrap_or_else(|e| panic!("copying {}: {e}", path.display()));
        }
    }
}

/// A hard link where it can be had: the temporary directory may be another file system.
fn link_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(|_| ()))
}

/// Copies a program that will be started. By another process: a file that is open for writing in
/// ours is so in whatever another test starts meanwhile too, and can't be run (`ETXTBSY`).
pub fn copy_program(from: &Path, to: &Path) {
    run(Command::new("cp").arg(from).arg(to));
}

fn make(directory: &Path, mode: u32) {
    fs::create_dir_all(directory).unwrap_or_else(|e| panic!("making {}: {e}", directory.display()));
    // Not at creation, where the umask would take bits away.
    fs::set_permissions(directory, Permissions::from_mode(mode)).expect("setting permissions");
}

fn run(command: &mut Command) {
    let output = command.output().expect("starting patchelf");
    assert!(
        output.status.success(),
        "patchelf: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
