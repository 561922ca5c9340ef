//! A picture on a screen.

use std::collections::BTreeSet;

use invivo::profile::live::{Board, Overview, ThreadTimes};
use invivo::profile::{Mode, ProfileProcess};
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

use super::listing::{Listing, thread_name};
use super::state::{Column, State, View};
use super::{Picture, WINDOW};
use crate::show::{cut, cut_path, grouped, shown};

/// The smallest screen that has room for everything.
pub(super) const SMALLEST: (u16, u16) = (60, 12);
/// Lines above the rows, and below.
const ABOVE: u16 = 5;
const BELOW: u16 = 1;

/// How things look.
#[derive(Clone, Copy)]
struct Look {
    color: bool,
}

impl Look {
    fn plain() -> Style {
        Style::new()
    }

    fn strong() -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    fn dim(self) -> Style {
        // Faint letters are hard to read where nothing else has a colour.
        if self.color {
            Style::new().add_modifier(Modifier::DIM)
        } else {
            Style::new()
        }
    }

    fn colored(self, color: Color) -> Style {
        if self.color {
            Style::new().fg(color)
        } else {
            Style::new()
        }
    }

    fn reversed() -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }
}

/// How many rows a screen of this height has room for.
pub(super) fn page(height: u16) -> usize {
    height.saturating_sub(ABOVE + BELOW).into()
}

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, picture: &Picture<'_>, listing: &Listing) {
    let area = frame.area();
    let screen = frame.buffer_mut();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        too_small(screen, area);
        return;
    }
    let look = Look {
        color: picture.color,
    };
    let board = picture.state.frozen.as_deref().unwrap_or(picture.board);
    let overview = board.overview();
    put(screen, area, 0, title(picture, board, area.width));
    put(screen, area, 1, measured(board, &overview, area.width));
    put(screen, area, 2, load(board, &overview, look, area.width));
    put(
        screen,
        area,
        3,
        tabs(picture.state, board, picture.plight, look, area.width),
    );
    if picture.state.help {
        help(screen, area);
    } else {
        rows(screen, area, picture, listing, look);
    }
    put(
        screen,
        area,
        area.height - 1,
        keys(picture.state, look, area.width),
    );
}

fn too_small(screen: &mut Buffer, area: Rect) {
    let (width, height) = SMALLEST;
    let lines = [
        format!("too small: {}×{}", area.width, area.height),
        format!("needs {width}×{height}"),
        "q leaves".to_owned(),
    ];
    for (row, line) in (0..area.height).zip(lines) {
        put(screen, area, row, Line::raw(line));
    }
}

fn put(screen: &mut Buffer, area: Rect, row: u16, line: Line<'_>) {
    if row < area.height {
        screen.set_line(area.x, area.y + row, &line, area.width);
    }
}

/// What is to the left, and at the end of the line what is to the right: that is cut last.
fn sides(left: &str, right: &str, width: u16) -> String {
    let width = usize::from(width);
    let left = cut(left, width.saturating_sub(right.width() + 2));
    let gap = width.saturating_sub(left.width() + right.width());
    format!("{left}{}{right}", " ".repeat(gap))
}

fn title<'a>(picture: &Picture<'_>, board: &Board, width: u16) -> Line<'a> {
    let (command, version) = match first_process(board) {
        Some(process) => (
            format!("{}  {}", process.pid, shown(&process.command.join(" "))),
            format!("CPython {}{}", process.version, and_others(board)),
        ),
        None => (picture.subject.to_owned(), "no Python yet".to_owned()),
    };
    Line::styled(sides(&command, &version, width), Look::strong())
}

/// The process that was named, as the program that it has become last; without Python in it, the
/// first of those that it has started.
pub(super) fn first_process(board: &Board) -> Option<&ProfileProcess> {
    let first = board.processes().next()?.pid;
    board.processes().rfind(|process| process.pid == first)
}

/// How many more processes there were, where there were more.
pub(super) fn and_others(board: &Board) -> String {
    let pids: BTreeSet<u32> = board.processes().map(|process| process.pid).collect();
    match pids.len() {
        0 | 1 => String::new(),
        2 => ", and another process".to_owned(),
        count => format!(", and {} other processes", count - 1),
    }
}

/// How the sampling goes.
fn measured<'a>(board: &Board, overview: &Overview, width: u16) -> Line<'a> {
    let about = board.about();
    let asked = 1e9 / about.interval.max(1) as f64;
    let rate = overview.ticks as f64 * 1e9 / overview.time.max(1) as f64;
    let own = overview.own_time as f64 * 100.0 / overview.time.max(1) as f64;
    let looks = about.looks;
    let near = match looks.all() {
        0 => String::new(),
        all => format!(
            "  {:.0}% on own processor",
            looks.own_processor as f64 * 100.0 / all as f64
        ),
    };
    let left = format!(
        "{rate:.0} of {asked:.0}/s  {} samples  {} missed  {} torn  own CPU {own:.1}%{near}",
        grouped(overview.samples),
        grouped(about.missed),
        grouped(about.torn),
    );
    Line::raw(sides(&left, &clock(about.duration), width))
}

fn clock(nanoseconds: u64) -> String {
    let seconds = nanoseconds / 1_000_000_000;
    format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// What the threads do, and the load of each second up to now.
fn load<'a>(board: &Board, overview: &Overview, look: Look, width: u16) -> Line<'a> {
    let numbers = shares(&overview.threads, overview, overview.time);
    let room = usize::from(width)
        .saturating_sub(numbers.width() + 6)
        .min(60);
    let loads: Vec<f64> = board.loads().map(|load| load.running).collect();
    let bars = bars(&loads[loads.len().saturating_sub(room)..]);
    Line::from(vec![
        Span::raw("load "),
        Span::styled(format!("{bars:>room$}"), look.colored(Color::Green)),
        Span::raw(" "),
        Span::raw(numbers),
    ])
}

/// What all threads do together.
pub(super) fn shares(threads: &ThreadTimes, overview: &Overview, whole: u64) -> String {
    let whole = whole.max(1) as f64;
    let percent = |time: u64| format!("{:.0}%", time as f64 * 100.0 / whole);
    let average = |time: u64| format!("{:.1}", time as f64 / whole);
    let cpu = if threads.seen > 0 && threads.unknown == threads.seen {
        "CPU ?".to_owned()
    } else if !overview.accounted {
        // How much of it they waited for a processor can't be told.
        format!("runnable {}", percent(threads.on_cpu))
    } else if threads.waits_for_cpu as f64 >= whole / 200.0 {
        let (on, waiting) = (threads.on_cpu, threads.waits_for_cpu);
        format!("CPU {} +{} queued", percent(on), percent(waiting))
    } else {
        format!("CPU {}", percent(threads.on_cpu))
    };
    let wanting = if overview.tells_waiting {
        average(threads.waits_for_gil)
    } else {
        "?".to_owned()
    };
    format!(
        "{cpu}  GIL {}  {} threads, {} idle, {} want the GIL",
        percent(threads.holds_gil),
        (threads.seen as f64 / whole).round(),
        average(threads.idle()),
        wanting,
    )
}

/// A bar for each load. A full one is one thread all the time, or the highest where that is more.
fn bars(loads: &[f64]) -> String {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let full = loads.iter().copied().fold(1.0, f64::max);
    let bar = |load: &f64| {
        let eighths = (load / full * 8.0).round() as usize;
        BARS[eighths.min(BARS.len() - 1)]
    };
    loads.iter().map(bar).collect()
}

fn tabs<'a>(
    state: &State,
    board: &Board,
    plight: Option<&str>,
    look: Look,
    width: u16,
) -> Line<'a> {
    let mut spans = Vec::new();
    let mut used = 0;
    for (number, view) in (1..).zip(View::ALL) {
        let text = format!(" {number} {} ", view.title());
        used += text.width();
        let style = if view == state.view {
            Look::reversed()
        } else {
            Look::plain()
        };
        spans.push(Span::styled(text, style));
    }
    // What matters most comes first: the rest may be cut.
    let mut said: Vec<String> = plight.map(str::to_owned).into_iter().collect();
    if state.frozen.is_some() {
        said.push("FROZEN".to_owned());
    }
    let mode = counted(state.mode);
    said.push(mode.strip_prefix("threads ").unwrap_or(mode).to_owned());
    if let Some(index) = state.thread {
        let threads = board.threads();
        let share = threads.iter().find(|share| share.index == index);
        let name = share.map_or_else(|| "ended".to_owned(), thread_name);
        said.push(format!("thread {}", cut(&name, 16)));
    }
    if !state.filter.is_empty() && !state.typing {
        said.push(format!("/{}", cut(&shown(&state.filter), 16)));
    }
    let room = usize::from(width).saturating_sub(used + 1);
    let said = cut(&said.join(", "), room);
    let gap = room.saturating_sub(said.width()) + 1;
    let style = if plight.is_some() || state.frozen.is_some() {
        look.colored(Color::Yellow).add_modifier(Modifier::BOLD)
    } else {
        Look::plain()
    };
    spans.push(Span::raw(" ".repeat(gap)));
    spans.push(Span::styled(said, style));
    Line::from(spans)
}

/// Which threads count.
pub(super) fn counted(mode: Mode) -> &'static str {
    match mode {
        Mode::Wall => "all threads",
        Mode::Cpu => "threads on CPU",
        Mode::Gil => "threads with the GIL",
        Mode::Exception => "threads in exceptions",
    }
}

/// A column's heading, and how wide it is where that is fixed.
pub(super) fn heading(column: Column) -> (&'static str, Option<usize>) {
    match column {
        Column::Own => ("SELF%", Some(7)),
        Column::Total => ("TOTAL%", Some(7)),
        Column::OwnEver => ("SELF s", Some(8)),
        Column::TotalEver => ("TOTAL s", Some(8)),
        Column::Function => ("FUNCTION", None),
        Column::File => ("FILE", None),
        Column::Cpu => ("CPU%", Some(6)),
        Column::Queue => ("RUNQ%", Some(6)),
        Column::Gil => ("GIL%", Some(6)),
        Column::Waits => ("WAIT%", Some(6)),
        Column::Idle => ("IDLE%", Some(6)),
        Column::CpuEver => ("CPU s", Some(6)),
        Column::Tid => ("TID", Some(7)),
        Column::Name => ("NAME", None),
        Column::At => ("MOST OFTEN IN", None),
    }
}

fn rows(screen: &mut Buffer, area: Rect, picture: &Picture<'_>, listing: &Listing, look: Look) {
    let state = picture.state;
    let page = page(area.height);
    let visible: Vec<_> = listing.rows.iter().skip(state.first).take(page).collect();
    let cells: Vec<Vec<String>> = visible
        .iter()
        .map(|row| {
            listing
                .columns
                .iter()
                .map(|column| listing.cell(row, *column))
                .collect()
        })
        .collect();
    let widths = widths(listing.columns, &cells, usize::from(area.width));
    let headings: Vec<Span<'_>> = listing
        .columns
        .iter()
        .zip(&widths)
        .flat_map(|(column, width)| {
            let sorted = *column == state.sorted_by();
            let text = heading(*column).0;
            let text = if sorted {
                format!("{text}▼")
            } else {
                text.to_owned()
            };
            let style = if sorted {
                Look::reversed()
            } else {
                Look::strong()
            };
            let (before, after) = padding(*column, &text, *width);
            [
                Span::raw(" ".repeat(before)),
                Span::styled(text, style),
                Span::raw(" ".repeat(after + 1)),
            ]
        })
        .collect();
    put(screen, area, ABOVE - 1, Line::from(headings));
    for (index, cells) in cells.iter().enumerate() {
        let row = ABOVE + index as u16;
        let spans = listing.columns.iter().zip(cells).zip(&widths);
        let spans = spans.flat_map(|((column, cell), width)| {
            let text = fitted(*column, cell, *width);
            let (before, after) = padding(*column, &text, *width);
            [
                Span::raw(" ".repeat(before)),
                Span::styled(text, style(*column, cell, look)),
                Span::raw(" ".repeat(after + 1)),
            ]
        });
        put(screen, area, row, Line::from(spans.collect::<Vec<_>>()));
        if state.first + index == state.selected {
            let line = Rect::new(area.x, area.y + row, area.width, 1);
            screen.set_style(line, Look::reversed());
        }
    }
    if cells.is_empty() {
        put(screen, area, ABOVE + 1, Line::raw(nothing(picture)));
    }
}

/// Why there are no rows.
fn nothing(picture: &Picture<'_>) -> &'static str {
    let state = picture.state;
    let board = state.frozen.as_deref().unwrap_or(picture.board);
    if board.overview().samples == 0 {
        "  Nothing has been sampled yet."
    } else if !state.filter.is_empty() {
        "  Nothing matches the filter. Esc shows all again."
    } else if state.mode != Mode::Wall {
        "  No thread has been seen so: m counts other threads, all of them among others."
    } else {
        "  No Python code has been seen."
    }
}

/// Numbers stand to the right.
fn padding(column: Column, text: &str, width: usize) -> (usize, usize) {
    let free = width.saturating_sub(text.width());
    if heading(column).1.is_some() {
        (free, 0)
    } else {
        (0, free)
    }
}

fn fitted(column: Column, cell: &str, width: usize) -> String {
    match column {
        // The end of a path tells more than its beginning.
        Column::File => cut_path(cell, width),
        _ => cut(cell, width),
    }
}

fn style(column: Column, cell: &str, look: Look) -> Style {
    let percent = || cell.parse::<f64>().unwrap_or(0.0);
    match column {
        Column::File | Column::At => look.dim(),
        Column::Own | Column::Cpu if percent() >= 50.0 => look.colored(Color::Red),
        Column::Own | Column::Cpu if percent() >= 10.0 => look.colored(Color::Yellow),
        _ => Look::plain(),
    }
}

/// How wide each column is: what is left beside numbers is shared between the two last ones, as
/// they need it.
fn widths(columns: &[Column], cells: &[Vec<String>], width: usize) -> Vec<usize> {
    let fixed: usize = columns.iter().filter_map(|column| heading(*column).1).sum();
    let room = width.saturating_sub(fixed + columns.len().saturating_sub(1));
    let widest = |index: usize, column: Column| {
        let cells = cells.iter().filter_map(|row| row.get(index));
        let widest = cells.map(|cell| cell.width()).max().unwrap_or(0);
        widest.max(heading(column).0.width() + 1)
    };
    let mut left = room;
    let mut open = columns
        .iter()
        .filter(|column| heading(**column).1.is_none())
        .count();
    let width = |(index, column): (usize, &Column)| {
        if let Some(fixed) = heading(*column).1 {
            return fixed;
        }
        open -= 1;
        // The last takes all that is left; the one before leaves it what it needs, or half.
        let rest = columns.get(index + 1).map(|next| widest(index + 1, *next));
        let width = match rest {
            Some(rest) if open > 0 => {
                widest(index, *column).min((room / 2).max(left.saturating_sub(rest)))
            }
            _ => left,
        };
        left = left.saturating_sub(width);
        width
    };
    columns.iter().enumerate().map(width).collect()
}

fn keys<'a>(state: &State, look: Look, width: u16) -> Line<'a> {
    if state.typing {
        let text = format!(
            "/{}█   Enter keeps the filter, Esc drops it",
            shown(&state.filter)
        );
        return Line::raw(cut(&text, width.into()));
    }
    let freeze = if state.frozen.is_some() {
        "go on"
    } else {
        "freeze"
    };
    let keys = [
        ("q", "quit"),
        ("1-4", "view"),
        ("s", "sort"),
        ("/", "filter"),
        ("m", "which threads"),
        ("f", freeze),
        ("?", "help"),
    ];
    let spans = keys.iter().flat_map(|(key, does)| {
        let key = Span::styled((*key).to_owned(), Look::strong());
        [key, Span::styled(format!(" {does}   "), look.dim())]
    });
    Line::from(spans.collect::<Vec<_>>())
}

fn help(screen: &mut Buffer, area: Rect) {
    let recent =
        format!("SELF% and TOTAL% are of the last {WINDOW} s: 100 is one thread all the time.");
    let lines = [
        recent.as_str(),
        "SELF: it was innermost. TOTAL: it was on the stack. Seconds: since the start.",
        "",
        "1 2 3 4 Tab   functions, lines, threads, the tree of calls",
        "s S           sort by the next column, by the one before",
        "m             count threads on a CPU, all, with the GIL, in exceptions",
        "/             filter: names and files that hold a text     Esc  all again",
        "f Space       freeze the picture, or go on with it",
        "Enter         a function's lines; only that thread; fold a branch",
        "t             all threads again",
        "← →           fold and unfold a branch",
        "↑ ↓ j k PgUp PgDn Home End    move",
        "Ctrl-Z        suspend      Ctrl-L  draw again      q Ctrl-C  quit",
        "",
        "CPU%: as the kernel accounts it. RUNQ%: runnable, but others have the processors.",
        "WAIT%: for the GIL; ? is not told, and counts as IDLE%, as sleep, I/O and locks do.",
        "load: threads on a CPU, a bar a second. Torn: changed while it was read.",
    ];
    let room = page(area.height) + 1;
    for (row, line) in (ABOVE - 1..).zip(lines).take(room) {
        put(screen, area, row, Line::raw(format!(" {line}")));
    }
}
