//! What is shown of what there is, and how keys change it.

use std::collections::HashSet;

use invivo::profile::Mode;
use invivo::profile::live::Board;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::listing::{Listing, Row};

/// A way to look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    Functions,
    Lines,
    Threads,
    Tree,
}

impl View {
    pub(super) const ALL: [Self; 4] = [Self::Functions, Self::Lines, Self::Threads, Self::Tree];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Functions => "Functions",
            Self::Lines => "Lines",
            Self::Threads => "Threads",
            Self::Tree => "Tree",
        }
    }

    /// What rows can be sorted by. The order of a tree is its own.
    pub(super) fn columns(self) -> &'static [Column] {
        match self {
            Self::Functions | Self::Lines => &[
                Column::Own,
                Column::Total,
                Column::OwnEver,
                Column::TotalEver,
                Column::Function,
                Column::File,
            ],
            Self::Threads => &[
                Column::Cpu,
                Column::Queue,
                Column::Gil,
                Column::Waits,
                Column::Idle,
                Column::CpuEver,
                Column::Tid,
                Column::Name,
                Column::At,
            ],
            Self::Tree => &[Column::Total, Column::Own, Column::Function, Column::File],
        }
    }
}

/// A column of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    Own,
    Total,
    OwnEver,
    TotalEver,
    Function,
    File,
    Cpu,
    Queue,
    Gil,
    Waits,
    Idle,
    CpuEver,
    Tid,
    Name,
    At,
}

/// What a key asks for beyond the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Nothing,
    Redraw,
    Suspend,
    Quit,
}

/// What is shown.
#[derive(Debug)]
pub(crate) struct State {
    pub(super) view: View,
    pub(super) mode: Mode,
    places_by: Column,
    threads_by: Column,
    /// Rows that do not hold this text are left out.
    pub(super) filter: String,
    /// Whether keys go into the filter.
    pub(super) typing: bool,
    /// The only thread that counts.
    pub(super) thread: Option<u32>,
    /// What there was when it was frozen.
    pub(super) frozen: Option<Box<Board>>,
    pub(super) selected: usize,
    /// The first row on the screen.
    pub(super) first: usize,
    /// Branches whose rows below are left out.
    pub(super) folded: HashSet<u64>,
    pub(super) help: bool,
    /// Whether shares are of all the time, and not only of the last seconds.
    pub(super) whole: bool,
    /// How many rows fit on the screen.
    page: usize,
}

impl State {
    pub(crate) fn new(mode: Mode) -> Self {
        Self {
            view: View::Functions,
            mode,
            places_by: Column::Own,
            threads_by: Column::Cpu,
            filter: String::new(),
            typing: false,
            thread: None,
            frozen: None,
            selected: 0,
            first: 0,
            folded: HashSet::new(),
            help: false,
            whole: false,
            page: 1,
        }
    }

    /// What the rows of this view are sorted by.
    pub(super) fn sorted_by(&self) -> Column {
        match self.view {
            View::Functions | View::Lines => self.places_by,
            View::Threads => self.threads_by,
            View::Tree => Column::Total,
        }
    }

    /// Has the selected row on the screen, which has room for `page` rows of `count`.
    pub(super) fn scroll(&mut self, count: usize, page: usize) {
        self.page = page.max(1);
        self.selected = self.selected.min(count.saturating_sub(1));
        let last_first = count.saturating_sub(page);
        self.first = self.first.min(last_first).min(self.selected);
        if self.selected >= self.first + self.page {
            self.first = self.selected + 1 - self.page;
        }
    }

    /// What a key does. `board` is what there is now, not what is frozen.
    pub(super) fn press(&mut self, key: KeyEvent, board: &Board) -> Asked {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c' | 'd') => Asked::Quit,
                KeyCode::Char('z') => Asked::Suspend,
                KeyCode::Char('l') => Asked::Redraw,
                _ => Asked::Nothing,
            };
        }
        if self.typing {
            self.edit(key.code);
        } else if self.help {
            // Any key leaves it, and the one that ends everything does that.
            self.help = false;
            if key.code == KeyCode::Char('q') {
                return Asked::Quit;
            }
        } else {
            return self.command(key.code, board);
        }
        Asked::Nothing
    }

    fn edit(&mut self, key: KeyCode) {
        /// What is longer is in no name that is looked for.
        const LONGEST: usize = 200;
        match key {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(character) if self.filter.len() < LONGEST => self.filter.push(character),
            _ => {}
        }
        self.go_to_top();
    }

    fn command(&mut self, key: KeyCode, board: &Board) -> Asked {
        match key {
            KeyCode::Char('q') => return Asked::Quit,
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.help = true,
            KeyCode::Char(digit @ '1'..='4') => {
                self.show(View::ALL[digit as usize - '1' as usize]);
            }
            KeyCode::Tab => self.show(following(&View::ALL, self.view, 1)),
            KeyCode::BackTab => self.show(following(&View::ALL, self.view, View::ALL.len() - 1)),
            KeyCode::Char('s') => self.sort(1),
            KeyCode::Char('S') => self.sort(self.view.columns().len() - 1),
            KeyCode::Char('m') => {
                const MODES: [Mode; 4] = [Mode::Cpu, Mode::Wall, Mode::Gil, Mode::Exception];
                self.mode = following(&MODES, self.mode, 1);
            }
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Char('f' | ' ') => {
                let frozen = self.frozen.take();
                self.frozen = frozen.is_none().then(|| Box::new(board.clone()));
            }
            KeyCode::Char('t') => self.thread = None,
            KeyCode::Esc => self.show_all(),
            KeyCode::Enter | KeyCode::Left | KeyCode::Right => self.on_row(key, board),
            _ => self.go(key),
        }
        Asked::Nothing
    }

    fn show(&mut self, view: View) {
        self.view = view;
        self.go_to_top();
    }

    fn go_to_top(&mut self) {
        (self.selected, self.first) = (0, 0);
    }

    fn sort(&mut self, steps: usize) {
        let next = following(self.view.columns(), self.sorted_by(), steps);
        match self.view {
            View::Functions | View::Lines => self.places_by = next,
            View::Threads => self.threads_by = next,
            View::Tree => return,
        }
        self.go_to_top();
    }

    /// Leaves out what leaves things out, the last first.
    fn show_all(&mut self) {
        if self.filter.is_empty() {
            self.thread = None;
        } else {
            self.filter.clear();
        }
        self.go_to_top();
    }

    fn go(&mut self, key: KeyCode) {
        self.selected = match key {
            KeyCode::Up | KeyCode::Char('k') => self.selected.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.selected.saturating_add(1),
            KeyCode::PageUp => self.selected.saturating_sub(self.page),
            KeyCode::PageDown => self.selected.saturating_add(self.page),
            KeyCode::Home | KeyCode::Char('g') => 0,
            // Brought within bounds with the next picture.
            KeyCode::End | KeyCode::Char('G') => usize::MAX / 2,
            _ => self.selected,
        };
    }

    /// What Enter and the arrows to the sides do with the selected row.
    fn on_row(&mut self, key: KeyCode, board: &Board) {
        let listing = Listing::new(self.frozen.as_deref().unwrap_or(board), self);
        let Some(row) = listing
            .rows
            .get(self.selected.min(listing.rows.len().saturating_sub(1)))
        else {
            return;
        };
        match (row, key) {
            (Row::Branch(branch), _) => {
                let fold = match key {
                    KeyCode::Left => true,
                    KeyCode::Right => false,
                    _ => !self.folded.contains(&branch.id),
                };
                if fold {
                    self.folded.insert(branch.id);
                } else {
                    self.folded.remove(&branch.id);
                }
            }
            (Row::Place(share), KeyCode::Enter) if self.view == View::Functions => {
                self.filter = share.function.name.text.clone();
                self.show(View::Lines);
            }
            (Row::Thread(share), KeyCode::Enter) if share.thread.is_some() => {
                self.thread = Some(share.index);
                self.show(View::Functions);
            }
            _ => {}
        }
    }
}

/// What comes so many steps after one of several, in a circle.
fn following<T: Copy + PartialEq>(all: &[T], one: T, steps: usize) -> T {
    let at = all.iter().position(|other| *other == one).unwrap_or(0);
    all.iter().copied().cycle().nth(at + steps).unwrap_or(one)
}
