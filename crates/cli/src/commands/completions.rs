use clap::{Args, CommandFactory};
use clap_complete::Shell;
use invivo::Result;

use crate::exit::Status;
use crate::show::Output;

/// Print the completions for a shell.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  invivo completions bash > ~/.local/share/bash-completion/completions/invivo
  invivo completions zsh > ~/.zfunc/_invivo
  invivo completions fish > ~/.config/fish/completions/invivo.fish")]
pub(crate) struct Arguments {
    /// Which shell.
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(arguments: &Arguments, output: &mut Output) -> Result<Status> {
    let mut text = Vec::new();
    let mut command = crate::arguments::Arguments::command();
    clap_complete::generate(arguments.shell, &mut command, "invivo", &mut text);
    output.raw(&text);
    Ok(Status::Done)
}
