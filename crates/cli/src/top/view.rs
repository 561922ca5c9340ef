//! Shows what comes, and does what keys and signals ask for.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use invivo::profile::live::{Board, Received, Sampling, Slices};
use invivo::{Error, ErrorKind, Result, Target};
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::flag;

use super::listing::Listing;
use super::screen::Screen;
use super::state::{Asked, State};
use super::{Picture, draw};
use crate::commands::HaltWatch;
use crate::show::shown;
use crate::signals::{catch, stays_ignored};

/// How long we wait for a key at a time: so late a signal or a slice may be noticed.
const PATIENCE: Duration = Duration::from_millis(100);

/// How the view was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// By a key, or since the time was over.
    Left,
    /// By a signal that ends programs.
    Signalled,
}

/// What signals asked for.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    end: Arc<AtomicBool>,
    suspend: Arc<AtomicBool>,
    resumed: Arc<AtomicBool>,
}

impl Signals {
    /// From now on they are caught: those that end programs, and where there is a screen those that
    /// matter to it.
    pub(crate) fn catch(screen: bool) -> Result<Self> {
        catch(|| {
            let signals = Self::default();
            let mut ending = vec![SIGINT, SIGTERM, SIGHUP];
            if screen {
                ending.push(SIGQUIT);
                flag::register(SIGTSTP, Arc::clone(&signals.suspend))?;
                flag::register(SIGCONT, Arc::clone(&signals.resumed))?;
            }
            ending.retain(|signal| !stays_ignored(*signal));
            for signal in ending {
                flag::register(signal, Arc::clone(&signals.end))?;
            }
            Ok(signals)
        })
    }
}

/// The live view.
#[derive(Debug)]
pub(crate) struct Show {
    /// Where it comes from.
    pub(crate) slices: Slices,
    /// What it comes by.
    pub(crate) sampling: Option<Sampling>,
    /// What has come.
    pub(crate) board: Board,
    /// What of it is shown.
    pub(crate) state: State,
    /// What to call the process before it is known.
    pub(crate) subject: String,
    /// Whether there may be colours.
    pub(crate) color: bool,
    /// When to end by itself.
    pub(crate) until: Option<Instant>,
    /// The process that was named or started, where it could be opened.
    pub(crate) target: Option<Target>,
    /// Whether it stands still.
    pub(crate) halt: HaltWatch,
}

impl Show {
    /// Shows it until it is left. The terminal is as before when this returns, whatever it does.
    ///
    /// # Errors
    /// Why the process can't be sampled any more, if it lives; or the terminal not be used.
    pub(crate) fn run(&mut self, signals: &Signals) -> Result<Ending> {
        let mut screen = Screen::enter().map_err(unusable)?;
        let mut stale = true;
        loop {
            if signals.end.load(Ordering::Relaxed) {
                return Ok(Ending::Signalled);
            }
            if self.until.is_some_and(|until| Instant::now() >= until) {
                return Ok(Ending::Left);
            }
            if signals.suspend.swap(false, Ordering::Relaxed) {
                suspend(&mut screen, signals).map_err(unusable)?;
                stale = true;
            }
            // Whoever stopped us without asking may have changed the terminal.
            if signals.resumed.swap(false, Ordering::Relaxed) {
                screen.again().map_err(unusable)?;
                stale = true;
            }
            stale |= self.take()?;
            if stale {
                self.draw(&mut screen).map_err(unusable)?;
            }
            stale = false;
            let mut patience = PATIENCE;
            while event::poll(patience).map_err(unusable)? {
                patience = Duration::ZERO;
                stale = true;
                match self.react(&event::read().map_err(unusable)?) {
                    Asked::Nothing => {}
                    Asked::Quit => return Ok(Ending::Left),
                    Asked::Redraw => screen.again().map_err(unusable)?,
                    Asked::Suspend => signals.suspend.store(true, Ordering::Relaxed),
                }
            }
        }
    }

    /// Takes what comes, until the time is over or the process has ended; shows nothing.
    ///
    /// # Errors
    /// Why the process can't be sampled any more, if it lives.
    pub(crate) fn wait(&mut self, signals: &Signals) -> Result<Ending> {
        loop {
            self.take()?;
            let left = self
                .until
                .map(|until| until.saturating_duration_since(Instant::now()));
            if self.sampling.is_none() || left == Some(Duration::ZERO) {
                return Ok(Ending::Left);
            }
            if signals.end.load(Ordering::Relaxed) {
                return Ok(Ending::Signalled);
            }
            thread::sleep(left.unwrap_or(PATIENCE).min(PATIENCE));
        }
    }

    /// Ends the sampling. Says whether it had ended before.
    pub(crate) fn stop(self) -> bool {
        // Nobody is to wait for what is not taken.
        drop(self.slices);
        match self.sampling {
            // What could have gone wrong in this last moment does not matter any more.
            Some(sampling) => {
                let _ = sampling.end();
                false
            }
            None => true,
        }
    }

    /// Takes what has come; says whether there is something new.
    fn take(&mut self) -> Result<bool> {
        let mut news = self
            .target
            .as_ref()
            .is_some_and(|target| self.halt.news(target).is_some());
        while self.sampling.is_some() {
            match self.slices.next(Duration::ZERO) {
                Received::Slice(slice) => self.board.take(*slice),
                Received::Nothing => break,
                Received::Ended => {
                    if let Some(sampling) = self.sampling.take() {
                        sampling.end()?;
                    }
                }
            }
            news = true;
        }
        Ok(news)
    }

    /// What keeps more from coming.
    fn plight(&self) -> Option<String> {
        if self.sampling.is_none() {
            return Some("the process has ended".to_owned());
        }
        let pid = self.target.as_ref()?.pid();
        if let Some(halt) = self.halt.halt() {
            return Some(format!("{halt}: {}", halt.remedy(pid)));
        }
        let command = self.board.becoming(pid)?;
        Some(format!(
            "runs another program: {}",
            shown(&command.join(" "))
        ))
    }

    fn react(&mut self, event: &Event) -> Asked {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => {
                self.state.press(*key, &self.board)
            }
            _ => Asked::Nothing,
        }
    }

    fn draw(&mut self, screen: &mut Screen) -> io::Result<()> {
        let size = screen.terminal.size()?;
        let board = self.state.frozen.as_deref().unwrap_or(&self.board);
        let listing = Listing::new(board, &self.state);
        self.state
            .scroll(listing.rows.len(), draw::page(size.height));
        let plight = self.plight();
        let picture = Picture {
            board: &self.board,
            state: &self.state,
            subject: &self.subject,
            plight: plight.as_deref(),
            color: self.color,
        };
        screen
            .terminal
            .draw(|frame| draw::draw(frame, &picture, &listing))?;
        Ok(())
    }
}

/// Gives the terminal back and stops, as a program does that Ctrl-Z reaches.
fn suspend(screen: &mut Screen, signals: &Signals) -> io::Result<()> {
    screen.aside(|| {
        let _ = signal_hook::low_level::emulate_default_handler(SIGTSTP);
    })?;
    signals.resumed.store(false, Ordering::Relaxed);
    Ok(())
}

fn unusable(error: io::Error) -> Error {
    Error::new(
        ErrorKind::Refused,
        "the terminal can't be used",
        error.to_string(),
        "run it on a terminal, or print a table with --once",
    )
}
