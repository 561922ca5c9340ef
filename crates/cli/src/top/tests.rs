mod processor;

use std::time::Duration;

use invivo::Text;
use invivo::Trust;
use invivo::profile::live::{Board, Feed, Received, Slices, feed};
use invivo::profile::{
    About, Charge, FunctionKind, Mode, ProcessorTime, ProfileFrame, ProfileFunction,
    ProfileProcess, ProfileThread, SampleStatus, Seen, Sink, StackNode,
};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::{Color, Modifier};

use super::listing::Listing;
use super::screen::Screen;
use super::state::{Asked, State, View};
use super::{Picture, draw};

#[allow(dead_code)]
#[path = "../../tests/support/terminal.rs"]
mod terminal;

const TICK: u64 = 5_000_000;

/// A process whose first thread burns and whose second sleeps, and what is shown of it.
struct Scene {
    feed: Feed,
    slices: Slices,
    about: About,
    numbers: u32,
    board: Board,
    state: State,
    ended: bool,
    color: bool,
}

impl Scene {
    /// After five seconds: 80 % in `burn`, called by `main`, and 20 % in `light`.
    fn new() -> Self {
        let mut scene = Self::empty();
        scene.process("shop.py");
        scene.thread(11, Some("MainThread"));
        scene.thread(12, Some("sleeper"));
        let burn = scene.stack(&[("main", 3), ("burn", 7)]);
        let light = scene.stack(&[("main", 4), ("light", 9)]);
        let sleep = scene.stack(&[("run", 20), ("wait", 21)]);
        for tick in 0..1001 {
            let stack = if tick % 5 == 0 { light } else { burn };
            scene.tick(&[seen(0, stack, true), seen(1, sleep, false)]);
        }
        scene.take();
        scene
    }

    fn empty() -> Self {
        let (feed, slices) = feed();
        Self {
            feed,
            slices,
            about: About {
                interval: TICK,
                ..About::default()
            },
            numbers: 0,
            board: Board::new(Duration::from_secs(5)),
            state: State::new(Mode::Cpu),
            ended: false,
            color: false,
        }
    }

    fn process(&mut self, script: &str) {
        self.process_of(4711, script);
    }

    fn process_of(&mut self, pid: u32, script: &str) {
        self.feed.process(&ProfileProcess {
            pid,
            parent: None,
            command: vec!["python3".to_owned(), script.to_owned()],
            version: "3.14.0".to_owned(),
        });
    }

    fn thread(&mut self, tid: u32, name: Option<&str>) {
        self.feed.thread(&ProfileThread {
            process: 0,
            tid,
            name: name.map(text),
            interpreter: 0,
            is_main: tid == 11,
        });
    }

    fn stack(&mut self, frames: &[(&str, u32)]) -> u32 {
        let mut caller = None;
        for (name, line) in frames {
            let number = self.numbers;
            self.feed.function(&ProfileFunction {
                name: text(name),
                file: text("/srv/shop.py"),
                first_line: 1,
                kind: FunctionKind::Python,
            });
            self.feed.frame(ProfileFrame {
                function: number,
                line: *line,
                columns: None,
                opcode: None,
            });
            let frame = number;
            self.feed.stack(StackNode { caller, frame });
            caller = Some(number);
            self.numbers += 1;
        }
        caller.unwrap()
    }

    /// A tick. Who is seen on a processor was on one all the time since the last.
    fn tick(&mut self, seen: &[Seen]) {
        for seen in seen.iter().filter(|seen| seen.status.on_cpu == Some(true)) {
            self.charge(seen, TICK, 0);
        }
        self.about.ticks += 1;
        self.about.duration += TICK;
        self.feed.tick(&self.about, seen).unwrap();
        self.take();
    }

    fn charge(&mut self, seen: &Seen, on: u64, waiting: u64) {
        self.feed.charge(&Charge {
            thread: seen.thread,
            stack: seen.stack,
            status: seen.status,
            time: ProcessorTime { on, waiting },
        });
    }

    fn take(&mut self) {
        while let Received::Slice(slice) = self.slices.next(Duration::ZERO) {
            self.board.take(*slice);
        }
    }

    fn press(&mut self, key: KeyCode) -> Asked {
        let asked = self
            .state
            .press(KeyEvent::new(key, KeyModifiers::NONE), &self.board);
        // The rows are on the screen before the next key comes.
        self.drawn(80, 24);
        asked
    }

    fn type_in(&mut self, text: &str) {
        text.chars().for_each(|key| {
            self.press(KeyCode::Char(key));
        });
    }

    fn control(&mut self, key: char) -> Asked {
        let key = KeyEvent::new(KeyCode::Char(key), KeyModifiers::CONTROL);
        self.state.press(key, &self.board)
    }

    fn drawn(&mut self, width: u16, height: u16) -> Terminal<TestBackend> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let board = self.state.frozen.as_deref().unwrap_or(&self.board);
        let listing = Listing::new(board, &self.state);
        self.state.scroll(listing.rows.len(), draw::page(height));
        let picture = Picture {
            board: &self.board,
            state: &self.state,
            subject: "4711",
            plight: self.ended.then_some("the process has ended"),
            color: self.color,
        };
        terminal
            .draw(|frame| draw::draw(frame, &picture, &listing))
            .unwrap();
        terminal
    }

    /// The lines of the screen.
    fn screen(&mut self, width: u16, height: u16) -> Vec<String> {
        let terminal = self.drawn(width, height);
        let buffer = terminal.backend().buffer();
        let line = |row: u16| {
            let mut line = String::new();
            let mut column = 0;
            while column < width {
                let symbol = buffer[(column, row)].symbol();
                line.push_str(symbol);
                column += unicode_width::UnicodeWidthStr::width(symbol).max(1) as u16;
            }
            line.trim_end().to_owned()
        };
        (0..height).map(line).collect()
    }

    /// The lines of the rows.
    fn rows(&mut self) -> Vec<String> {
        let screen = self.screen(80, 24);
        let rows = screen[5..23].iter().filter(|line| !line.is_empty());
        rows.cloned().collect()
    }
}

fn text(text: &str) -> Text {
    Text {
        text: text.to_owned(),
        truncated: false,
    }
}

fn seen(thread: u32, stack: u32, on_cpu: bool) -> Seen {
    Seen {
        thread,
        stack: Some(stack),
        status: SampleStatus {
            on_cpu: Some(on_cpu),
            waits_for_cpu: Some(false),
            holds_gil: Some(on_cpu),
            waits_for_gil: None,
            handles_exception: None,
        },
        trust: Trust::Whole,
    }
}

#[test]
fn functions_at_80_by_24() {
    let mut scene = Scene::new();
    scene.about.torn = 3;
    assert_eq!(
        scene.screen(80, 24),
        [
            "4711  python3 shop.py                                             CPython 3.14.0",
            "200 of 200/s  2,002 samples  0 missed  0 torn  own CPU 0.0%             00:00:05",
            "load               █████ CPU 100%  GIL 100%  2 threads, 1.0 idle, ? want the GIL",
            " 1 Functions  2 Lines  3 Threads  4 Tree                                  on CPU",
            " SELF%▼  TOTAL%   SELF s  TOTAL s FUNCTION  FILE",
            "   80.0    80.0      4.0      4.0 burn      /srv/shop.py:1",
            "   20.0    20.0      1.0      1.0 light     /srv/shop.py:1",
            "    0.0   100.0      0.0      5.0 main      /srv/shop.py:1",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "q quit   1-4 view   s sort   / filter   m which threads   f freeze   ? help",
        ]
    );
}

#[test]
fn lines_threads_and_the_tree() {
    let mut scene = Scene::new();
    scene.press(KeyCode::Char('2'));
    assert_eq!(
        scene.rows(),
        [
            "   80.0    80.0      4.0      4.0 burn      /srv/shop.py:7",
            "   20.0    20.0      1.0      1.0 light     /srv/shop.py:9",
            "    0.0    80.0      0.0      4.0 main      /srv/shop.py:3",
            "    0.0    20.0      0.0      1.0 main      /srv/shop.py:4",
        ]
    );
    scene.press(KeyCode::Tab);
    assert_eq!(
        scene.rows(),
        [
            " 100.0    0.0  100.0      ?    0.0    5.0      11 MainThread burn  shop.py:7",
            "   0.0    0.0    0.0      ?  100.0    0.0      12 sleeper    wait  shop.py:21",
        ]
    );
    scene.press(KeyCode::Char('4'));
    assert_eq!(
        scene.rows(),
        [
            "  100.0     0.0 ▾ main    /srv/shop.py:1",
            "   80.0    80.0    burn   /srv/shop.py:1",
            "   20.0    20.0    light  /srv/shop.py:1",
        ]
    );
    // The heaviest branch folds and unfolds.
    scene.press(KeyCode::Left);
    assert_eq!(scene.rows(), ["  100.0     0.0 ▸ main    /srv/shop.py:1"]);
    scene.press(KeyCode::Enter);
    assert_eq!(scene.rows().len(), 3);
}

#[test]
fn a_wide_screen_shows_more_and_a_small_one_says_so() {
    let mut scene = Scene::new();
    let wide = scene.screen(120, 40);
    assert!(wide[0].ends_with("CPython 3.14.0") && wide[0].chars().count() == 120);
    assert_eq!(
        wide[5],
        "   80.0    80.0      4.0      4.0 burn      /srv/shop.py:1"
    );
    assert!(wide[39].starts_with("q quit"));
    let small = scene.screen(40, 10);
    assert_eq!(&small[..3], ["too small: 40×10", "needs 60×12", "q leaves"]);
    assert!(small[3..].iter().all(String::is_empty));
    for (width, height) in [(1, 1), (20, 3), (60, 12), (61, 12), (500, 200)] {
        assert_eq!(scene.screen(width, height).len(), usize::from(height));
    }
    assert_eq!(
        scene.screen(60, 12)[5],
        "   80.0    80.0      4.0      4.0 burn      /srv/shop.py:1"
    );
}

#[test]
fn threads_that_count_are_chosen_by_a_key() {
    let mut scene = Scene::new();
    scene.press(KeyCode::Char('m'));
    assert!(scene.screen(80, 24)[3].ends_with("all threads"));
    assert!(scene.rows().iter().any(|row| row.contains("wait")));
    scene.press(KeyCode::Char('m'));
    assert!(scene.screen(80, 24)[3].ends_with(" with the GIL"));
    assert!(!scene.rows().iter().any(|row| row.contains("wait")));
    scene.press(KeyCode::Char('m'));
    assert!(scene.rows()[0].contains("No thread has been seen so"));
}

#[test]
fn rows_are_sorted_as_asked_for() {
    let mut scene = Scene::new();
    let names = |scene: &mut Scene| -> Vec<String> {
        let name = |row: &String| row.split_whitespace().nth(4).unwrap().to_owned();
        scene.rows().iter().map(name).collect()
    };
    scene.press(KeyCode::Char('s'));
    assert_eq!(names(&mut scene), ["main", "burn", "light"]);
    assert!(scene.screen(80, 24)[4].contains("TOTAL%▼"));
    for _ in 0..3 {
        scene.press(KeyCode::Char('s'));
    }
    assert_eq!(names(&mut scene), ["burn", "light", "main"]);
    scene.press(KeyCode::Char('S'));
    assert_eq!(names(&mut scene), ["main", "burn", "light"]);
    assert!(scene.screen(80, 24)[4].contains("TOTAL s▼"));
    // Threads have an order of their own.
    scene.press(KeyCode::Char('3'));
    scene.press(KeyCode::Char('S'));
    assert!(scene.screen(80, 24)[4].contains("MOST OFTEN IN▼"));
}

#[test]
fn a_filter_leaves_rows_out_until_it_is_dropped() {
    let mut scene = Scene::new();
    scene.type_in("/BUq");
    let screen = scene.screen(80, 24);
    assert!(screen[23].starts_with("/BUq█"), "{screen:?}");
    assert!(scene.rows()[0].contains("Nothing matches the filter"));
    scene.press(KeyCode::Backspace);
    scene.press(KeyCode::Enter);
    assert_eq!(scene.rows().len(), 1);
    assert!(scene.screen(80, 24)[3].ends_with("on CPU, /BU"));
    // The tree keeps who called it.
    scene.press(KeyCode::Char('4'));
    assert_eq!(scene.rows().len(), 2);
    scene.press(KeyCode::Esc);
    assert_eq!(scene.rows().len(), 3);
}

#[test]
fn enter_goes_into_a_function_and_into_a_thread() {
    let mut scene = Scene::new();
    scene.press(KeyCode::Down);
    scene.press(KeyCode::Enter);
    assert_eq!(scene.state.view, View::Lines);
    assert_eq!(
        scene.rows(),
        ["   20.0    20.0      1.0      1.0 light     /srv/shop.py:9"]
    );
    scene.press(KeyCode::Esc);
    scene.type_in("3G");
    scene.press(KeyCode::Enter);
    scene.type_in("m");
    assert!(scene.screen(80, 24)[3].ends_with("all threads, thread sleeper"));
    assert_eq!(scene.rows().len(), 2);
    scene.press(KeyCode::Char('t'));
    assert_eq!(scene.rows().len(), 5);
}

#[test]
fn a_frozen_picture_stays_and_can_still_be_looked_at() {
    let mut scene = Scene::new();
    scene.press(KeyCode::Char('f'));
    let other = scene.stack(&[("other", 1)]);
    for _ in 0..1000 {
        scene.tick(&[seen(0, other, true)]);
    }
    let screen = scene.screen(80, 24);
    assert!(screen[3].ends_with("FROZEN, on CPU"));
    assert!(screen[1].contains("2,002 samples") && screen[5].contains("burn"));
    scene.press(KeyCode::Char('4'));
    assert_eq!(scene.rows().len(), 3);
    scene.type_in("1 ");
    let screen = scene.screen(80, 24);
    assert!(
        screen[1].contains("3,002 samples") && screen[5].contains("other"),
        "{screen:?}"
    );
}

#[test]
fn the_selected_row_is_always_on_the_screen() {
    let mut scene = Scene::empty();
    scene.process("shop.py");
    scene.thread(11, None);
    let stacks: Vec<u32> = (0..100)
        .map(|line| scene.stack(&[("f", line + 1)]))
        .collect();
    for stack in stacks {
        scene.tick(&[seen(0, stack, true)]);
    }
    scene.tick(&[]);
    for _ in 0..50 {
        scene.tick(&[]);
    }
    scene.press(KeyCode::Char('2'));
    let selected = |scene: &mut Scene| {
        let terminal = scene.drawn(80, 24);
        let buffer = terminal.backend().buffer();
        let reversed = |row: &u16| buffer[(79, *row)].modifier.contains(Modifier::REVERSED);
        let rows: Vec<u16> = (5..23).filter(reversed).collect();
        assert_eq!(rows.len(), 1);
        (scene.state.selected, rows[0])
    };
    assert_eq!(selected(&mut scene), (0, 5));
    for (key, expected) in [
        (KeyCode::Up, (0, 5)),
        (KeyCode::Down, (1, 6)),
        (KeyCode::PageDown, (19, 22)),
        (KeyCode::End, (99, 22)),
        (KeyCode::Down, (99, 22)),
        (KeyCode::PageUp, (81, 5 - 1 + 1)),
        (KeyCode::Home, (0, 5)),
    ] {
        scene.press(key);
        let (row, line) = selected(&mut scene);
        assert_eq!(row, expected.0, "{key:?}");
        assert_eq!(
            line,
            if key == KeyCode::PageUp {
                5
            } else {
                expected.1
            },
            "{key:?}"
        );
    }
}

#[test]
fn help_and_leaving() {
    let mut scene = Scene::new();
    scene.press(KeyCode::Char('?'));
    let screen = scene.screen(80, 24).join("\n");
    assert!(
        screen.contains("SELF% and TOTAL% are of the last 5 s"),
        "{screen}"
    );
    assert!(
        screen.contains("Torn: changed while it was read"),
        "{screen}"
    );
    assert_eq!(scene.press(KeyCode::Char('3')), Asked::Nothing);
    assert!(scene.rows()[0].contains("burn"));
    assert_eq!(scene.control('z'), Asked::Suspend);
    assert_eq!(scene.control('l'), Asked::Redraw);
    assert_eq!(scene.control('c'), Asked::Quit);
    assert_eq!(scene.press(KeyCode::Char('q')), Asked::Quit);
}

#[test]
fn the_title_names_the_first_process_as_what_it_has_become() {
    let mut scene = Scene::empty();
    for (pid, script) in [(4711, "shop.py"), (4712, "child.py"), (4711, "next.py")] {
        scene.process_of(pid, script);
    }
    scene.tick(&[]);
    scene.take();
    let first = draw::first_process(&scene.board).unwrap();
    assert_eq!(
        (first.pid, first.command.last().unwrap().as_str()),
        (4711, "next.py")
    );
}

#[test]
fn what_a_target_names_drives_no_terminal() {
    let mut scene = Scene::empty();
    scene.process("\x1b]0;owned\x07\u{202e}.py");
    scene.thread(11, Some("na\x1b[2Jme"));
    let stack = scene.stack(&[("日本語\x1b[31m\u{202e}f\u{200b}", 1)]);
    for _ in 0..101 {
        scene.tick(&[seen(0, stack, true)]);
    }
    let screen = scene.screen(100, 24);
    assert!(
        screen[0].contains(r"\x1b]0;owned\x07\u202e.py"),
        "{screen:?}"
    );
    assert!(
        screen[5].contains(r"日本語\x1b[31m\u202ef\u200b /srv/shop.py:1"),
        "{screen:?}"
    );
    scene.press(KeyCode::Char('3'));
    let screen = scene.screen(100, 24);
    assert!(screen[5].contains(r"na\x1b[2Jme"), "{screen:?}");
}

#[test]
fn colour_is_left_out_where_it_is_not_wanted() {
    let mut scene = Scene::new();
    let colored = |scene: &mut Scene| {
        let terminal = scene.drawn(80, 24);
        let cells = terminal.backend().buffer().content().iter();
        cells
            .filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
            .count()
    };
    assert_eq!(colored(&mut scene), 0);
    scene.color = true;
    assert!(colored(&mut scene) > 4);
}

#[test]
fn the_end_of_the_process_is_said_and_so_is_its_not_being_there() {
    let mut scene = Scene::new();
    scene.ended = true;
    let screen = scene.screen(80, 24);
    assert!(screen[3].ends_with("the process has ended, on CPU") && screen[5].contains("burn"));
    let mut scene = Scene::empty();
    let screen = scene.screen(80, 24);
    assert!(screen[0].starts_with("4711 ") && screen[0].ends_with("no Python yet"));
    assert!(
        screen[6].contains("Nothing has been sampled yet"),
        "{screen:?}"
    );
}

/// Set for the run of this test that panics.
const PANIC: &str = "INVIVO_TEST_PANIC";

#[test]
fn a_panic_leaves_the_terminal_as_it_was() {
    if std::env::var_os(PANIC).is_some() {
        let _screen = Screen::enter().unwrap();
        let sampling = std::thread::spawn(|| panic!("on purpose"));
        let _ = sampling.join();
        // Nothing is dropped any more where a panic aborts.
        std::process::abort();
    }
    let me = std::env::current_exe().unwrap();
    let me = me.to_str().unwrap();
    let name = "top::tests::a_panic_leaves_the_terminal_as_it_was";
    let variable = format!("{PANIC}=1");
    let mut terminal = terminal::Terminal::start([
        "/usr/bin/env",
        &variable,
        me,
        "--exact",
        name,
        "--nocapture",
    ]);
    let standing = terminal.ended();
    standing.as_before();
    assert_eq!(standing.code(), Some(-6));
    assert!(
        standing.screen().contains("on purpose"),
        "{}",
        standing.screen()
    );
    assert!(standing.was_taken());
}
