//! How and where a target is to be started.

use std::env;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::helpers;
use crate::interpreters::Interpreter;
use crate::root::{Root, copy_program};
use crate::target::Target;

/// The surroundings of a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// The host itself.
    #[default]
    Host,
    /// The host's files, with mount and pid namespaces of its own. Needs root.
    Namespaces,
    /// A root of its own by plain `chroot`. Needs root.
    Chroot,
    /// A root of its own by `pivot_root`, with mount and pid namespaces: a container. Needs root.
    Container,
}

/// Everything about a target before it runs; [`Launch::start`] starts it.
#[derive(Clone, Debug)]
pub struct Launch<'a> {
    interpreter: &'a Interpreter,
    program: String,
    options: Vec<OsString>,
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
    place: Place,
    user: Option<(u32, u32)>,
    read_only: Option<PathBuf>,
    name: Option<String>,
    embedded: bool,
    own_group: bool,
}

impl<'a> Launch<'a> {
    /// This interpreter running this Python text, which must print a line that begins with
    /// `ready`; see [`crate::samples`].
    pub fn new(interpreter: &'a Interpreter, program: impl Into<String>) -> Launch<'a> {
        Launch {
            interpreter,
            program: program.into(),
            options: Vec::new(),
            arguments: Vec::new(),
            variables: Vec::new(),
            directory: None,
            place: Place::Host,
            user: None,
            read_only: None,
            name: None,
            embedded: false,
            own_group: false,
        }
    }

    /// Options of the interpreter, such as `-X` and `disable-remote-debug`.
    pub fn options<S: Into<OsString>>(mut self, options: impl IntoIterator<Item = S>) -> Self {
        self.options.extend(options.into_iter().map(Into::into));
        self
    }

    /// What the program finds in `sys.argv[1:]`.
    pub fn arguments<S: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// A variable in its environment. Variables that begin with `PYTHON` are not inherited.
    pub fn variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Its working directory, in the host's view; for [`Place::Host`] and [`Place::Namespaces`].
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Where it runs.
    pub fn place(mut self, place: Place) -> Self {
        self.place = place;
        self
    }

    /// The user and group it runs as, with no other groups. Needs root.
    pub fn user(mut self, uid: u32, gid: u32) -> Self {
        self.user = Some((uid, gid));
        self
    }

    /// A path, in the target's view, that is mounted read-only; for places with namespaces.
    pub fn read_only(mut self, path: impl Into<PathBuf>) -> Self {
        self.read_only = Some(path.into());
        self
    }

    /// Runs a copy of the interpreter's binary under this name. Only a copy can be deleted or
    /// replaced afterwards.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Runs the program in Python inside a C program, on the host.
    pub fn embedded(mut self) -> Self {
        self.embedded = true;
        self
    }

    /// Runs it in a process group of its own, with us as its parent in another one: else a signal
    /// such as SIGTSTP stops nothing where nobody controls the tests by a terminal.
    pub fn in_own_group(mut self) -> Self {
        self.own_group = true;
        self
    }

    /// Starts the target and waits until it says that it is ready.
    ///
    /// # Panics
    /// If it cannot be started, ends, or is not ready within [`crate::target::PATIENCE`].
    pub fn start(self) -> Target {
        let scene = self.scene();
        let script = scene.area.join("target.py");
        write(&script, &self.program);
        let (mut command, executable) = self.command(&scene, &scene.inside(&script));
        if self.own_group {
            command.process_group(0);
        }
        Target::begin(command, executable, self.forks(), scene.scratch, scene.root)
    }

    fn forks(&self) -> bool {
        matches!(self.place, Place::Namespaces | Place::Container)
    }

    /// Makes the directories that the target needs.
    fn scene(&self) -> Scene {
        let scratch = tempfile::Builder::new()
            .prefix("target-")
            .tempdir()
            .expect("a directory for the target");
        fs::set_permissions(scratch.path(), Permissions::from_mode(0o755))
            .expect("opening the directory");
        let prefix = self.interpreter.prefix.as_ref();
        match (self.place, prefix) {
            (Place::Chroot | Place::Container, _) => {
                let root = Root::new(self.interpreter);
                let inside = prefix.map(|p| p.program.clone()).unwrap_or_default();
                let area = root.path().join("srv");
                fs::create_dir(&area).expect("making /srv");
                Scene {
                    program: root.outside(&inside),
                    area,
                    scratch,
                    root: Some(root),
                    rooted: true,
                }
            }
            (Place::Host | Place::Namespaces, Some(_)) if self.user.is_some() => {
                let (root, program) = Root::reachable(self.interpreter);
                Scene {
                    program,
                    area: scratch.path().to_owned(),
                    scratch,
                    root: Some(root),
                    rooted: false,
                }
            }
            (Place::Host | Place::Namespaces, _) => {
                let program = self.interpreter.program.clone();
                Scene {
                    program,
                    area: scratch.path().to_owned(),
                    scratch,
                    root: None,
                    rooted: false,
                }
            }
        }
    }

    /// The command, and the program's file in the host's view.
    fn command(&self, scene: &Scene, script: &Path) -> (Command, PathBuf) {
        let mut executable = scene.program.clone();
        let mut variables = self.variables.clone();
        let mut words: Vec<OsString> = Vec::new();
        if self.embedded {
            assert!(
                !scene.rooted && self.user.is_none(),
                "an embedding program runs on the host"
            );
            assert!(
                self.options.is_empty() && self.arguments.is_empty(),
                "an embedding program takes none"
            );
            executable = helpers::embed(self.interpreter);
            words.push(self.interpreter.home.clone().into());
            words.push(script.into());
        } else {
            words.extend(self.options.iter().cloned());
            words.push(script.into());
            words.extend(self.arguments.iter().cloned());
        }
        if let Some(name) = &self.name {
            let copy = scene.area.join(name);
            copy_program(&executable, &copy);
            executable = copy;
            variables.push(("PYTHONHOME".into(), scene.home(self.interpreter)));
        }
        let mut command = self.placed(scene, &scene.inside(&executable));
        command.args(words);
        for (name, _) in
            env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PYTHON"))
        {
            command.env_remove(name);
        }
        command.envs(variables);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        (command, executable)
    }

    /// A command that runs `program` where it belongs.
    fn placed(&self, scene: &Scene, program: &Path) -> Command {
        if self.place == Place::Host && self.user.is_none() {
            return Command::new(program);
        }
        let mut command = Command::new(helpers::place());
        if self.forks() {
            command.arg("-n");
        }
        if let (true, Some(root)) = (scene.rooted, &scene.root) {
            command.arg("-r").arg(root.path());
        }
        if let Some(path) = &self.read_only {
            command.arg("-w").arg(path);
        }
        if let Some((uid, gid)) = self.user {
            command.arg("-u").arg(format!("{uid}:{gid}"));
            // The present directory may be closed to that user.
            command.current_dir("/");
        }
        command.arg(program);
        command
    }
}

/// The directories of a target that is about to start.
struct Scene {
    /// The interpreter's binary, in the host's view.
    program: PathBuf,
    /// Where its script and copies lie, in the host's view.
    area: PathBuf,
    scratch: TempDir,
    root: Option<Root>,
    /// Whether `root` is the target's root; otherwise it only holds the interpreter.
    rooted: bool,
}

impl Scene {
    /// A path as the target sees it.
    fn inside(&self, path: &Path) -> PathBuf {
        match &self.root {
            Some(root) if self.rooted => Path::new("/").join(
                path.strip_prefix(root.path())
                    .expect("a path in the target's root"),
            ),
            _ => path.to_owned(),
        }
    }

    fn home(&self, interpreter: &Interpreter) -> OsString {
        match &self.root {
            Some(_) if self.rooted => "/usr".into(),
            Some(root) => root.path().join("usr").into(),
            None => interpreter.home.clone().into(),
        }
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|e| panic!("writing {}: {e}", path.display()));
    fs::set_permissions(path, Permissions::from_mode(0o644)).expect("opening the program to all");
}
