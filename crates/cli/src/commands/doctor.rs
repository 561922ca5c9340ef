use clap::Args; use invivo::Result; use crate::exit::Status; use crate::show::Output;
/// stub
#[derive(Debug, Args)] pub(crate) struct Arguments {}
pub(crate) fn run(_: &Arguments, _: &mut Output) -> Result<Status> { Ok(Status::Done) }
