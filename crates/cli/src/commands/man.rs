use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory};
use clap_mangen::Man;
use invivo::files::{NewFile, Readers};
use invivo::{Error, ErrorKind, Result};

use crate::exit::Status;
use crate::show::{Output, lacks_room, unwritten};

/// Print the man page, or write one for each command.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  invivo man | man -l -
  invivo man --directory ~/.local/share/man/man1")]
pub(crate) struct Arguments {
    /// Write invivo.1, invivo-exec.1 and so on into this directory.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments, output: &mut Output) -> Result<Status> {
    let mut command = crate::arguments::Arguments::command();
    command.build();
    match &arguments.directory {
        None => {
            let mut page = Vec::new();
            Man::new(command)
                .render(&mut page)
                .map_err(|error| failed(Path::new("-"), &error))?;
            output.raw(&page);
        }
        Some(directory) => {
            fs::create_dir_all(directory).map_err(|error| failed(directory, &error))?;
            write_pages(&command, "invivo", directory)
                .map_err(|error| failed(directory, &error))?;
        }
    }
    Ok(Status::Done)
}

fn write_pages(command: &clap::Command, name: &str, directory: &Path) -> io::Result<()> {
    let mut page = Vec::new();
    Man::new(command.clone()).title(name).render(&mut page)?;
    let file = directory.join(format!("{name}.1"));
    let new = NewFile::beside(&file, ".part", Readers::Usual)?;
    new.file().write_all(&page)?;
    new.replace().map_err(|(error, _)| error)?;
    for sub in command
        .get_subcommands()
        .filter(|sub| sub.get_name() != "help")
    {
        write_pages(sub, &format!("{name}-{}", sub.get_name()), directory)?;
    }
    Ok(())
}

fn failed(place: &Path, error: &io::Error) -> Error {
    if lacks_room(error) {
        return unwritten(&place.display().to_string(), error);
    }
    Error::new(
        ErrorKind::Usage,
        format!("could not write the man pages to {}", place.display()),
        error.to_string(),
        "name a directory that you can write to",
    )
}
