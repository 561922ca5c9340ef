//! The terminal while it is a screen, and as it was before.

use std::io::{self, Stdout, stdout};
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::layout::{Position, Rect};

/// Whether the terminal is a screen now.
static ENTERED: AtomicBool = AtomicBool::new(false);

/// The terminal as a screen, until this is dropped, or anything panics in whatever thread.
#[derive(Debug)]
pub(crate) struct Screen {
    pub(crate) terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    /// Makes a screen of the terminal.
    pub(crate) fn enter() -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = panic::take_hook();
            panic::set_hook(Box::new(move |panic| {
                leave();
                before(panic);
            }));
        });
        enter()?;
        let terminal = Terminal::new(CrosstermBackend::new(stdout()));
        terminal
            .map(|terminal| Self { terminal })
            .inspect_err(|_| leave())
    }

    /// Gives the terminal back for as long as `meanwhile` takes.
    pub(crate) fn aside(&mut self, meanwhile: impl FnOnce()) -> io::Result<()> {
        leave();
        meanwhile();
        self.again()
    }

    /// Makes a screen of the terminal again, whatever has become of it, and draws all of it next.
    pub(crate) fn again(&mut self) -> io::Result<()> {
        enter()?;
        // Not `clear`, which asks the terminal where its cursor is, and fails where none answers.
        let size = self.terminal.size()?;
        self.terminal.resize(Rect::from((Position::ORIGIN, size)))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

fn enter() -> io::Result<()> {
    ENTERED.store(true, Ordering::SeqCst);
    enable_raw_mode()
        .and_then(|()| execute!(stdout(), EnterAlternateScreen, Hide))
        .inspect_err(|_| leave())
}

/// Once for each time it was entered. A terminal that has gone can't be given back.
fn leave() {
    if ENTERED.swap(false, Ordering::SeqCst) {
        let _ = execute!(stdout(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}
