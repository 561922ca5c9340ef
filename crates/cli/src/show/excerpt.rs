//! A line of source text, and where in it a frame stands.

use invivo::Position;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::shown;

/// How much of a line that is longer than the terminal shows before what is marked.
const BEFORE_MARK: usize = 20;
/// How long a line may be where there is no terminal.
const WIDTH_MAX: usize = 500;

/// A line in three parts, each escaped: what stands before, in and behind the current expression.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Excerpt {
    pub(crate) before: String,
    pub(crate) marked: String,
    pub(crate) behind: String,
}

impl Excerpt {
    /// `line` without its indentation, in at most `columns`. Nothing is marked where the position
    /// does not say what, where it is the whole line, or where the line is not the one meant, since
    /// the file has changed.
    pub(crate) fn new(line: &str, position: Position, columns: Option<usize>) -> Option<Self> {
        let indented = line.len() - line.trim_start().len();
        let end = line.trim_end().len();
        if indented >= end {
            return None;
        }
        let (start, stop) = marked(line, position)
            .map(|(start, stop)| (start.max(indented), stop.min(end)))
            .filter(|(start, stop)| start < stop && (*start, *stop) != (indented, end))
            .unwrap_or((indented, indented));
        let part = |from, to| line.get(from..to).map(plain).unwrap_or_default();
        let excerpt = Self {
            before: part(indented, start),
            marked: part(start, stop),
            behind: part(stop, end),
        };
        Some(excerpt.within(columns.unwrap_or(WIDTH_MAX)))
    }

    /// A line of marks to go under it; `None` where nothing is marked.
    pub(crate) fn marks(&self) -> Option<String> {
        let width = self.marked.width();
        (width > 0).then(|| format!("{}{}", " ".repeat(self.before.width()), "^".repeat(width)))
    }

    fn within(mut self, columns: usize) -> Self {
        if self.before.width() + self.marked.width() > columns {
            let surplus = self.before.width().saturating_sub(BEFORE_MARK);
            if surplus > 0 {
                self.before = format!("…{}", without_start(&self.before, surplus + 1));
            }
        }
        let room = columns.saturating_sub(self.before.width());
        self.marked = cut(&self.marked, room);
        let room = room.saturating_sub(self.marked.width());
        self.behind = cut(&self.behind, room);
        self
    }
}

/// The bytes of `line` from and up to which the current expression goes.
fn marked(line: &str, position: Position) -> Option<(usize, usize)> {
    // Columns are of the text as Python decoded it.
    if line.contains('\u{fffd}') {
        return None;
    }
    let start = usize::try_from(position.column?).ok()?;
    let one_line = position.end_line.is_none() || position.end_line == position.line;
    let stop = if one_line {
        usize::try_from(position.end_column?).ok()?
    } else {
        line.len()
    };
    let fits = start < stop && line.is_char_boundary(start) && line.is_char_boundary(stop);
    fits.then_some((start, stop))
}

/// Escaped for one line; a tab becomes a blank.
fn plain(text: &str) -> String {
    shown(&text.replace('\t', " ")).into_owned()
}

/// `text` in at most `columns`, with a sign where it goes on.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    if columns == 0 {
        return String::new();
    }
    let mut width = 0;
    let kept = text.chars().take_while(|character| {
        width += character.width().unwrap_or(0);
        width < columns
    });
    let mut short: String = kept.collect();
    short.push('…');
    short
}

/// `text` without what takes its first `columns`.
fn without_start(text: &str, columns: usize) -> &str {
    let mut width = 0;
    let at = text.char_indices().find(|(_, character)| {
        let reached = width >= columns;
        width += character.width().unwrap_or(0);
        reached
    });
    at.and_then(|(at, _)| text.get(at..)).unwrap_or_default()
}

/// A path in at most `columns`, with a sign where its beginning is left out, since its end tells
/// more: cut between directories where that leaves enough.
pub(crate) fn cut_path(path: &str, columns: usize) -> String {
    let width = path.width();
    if width <= columns {
        return path.to_owned();
    }
    if columns == 0 {
        return String::new();
    }
    let end = without_start(path, width + 1 - columns);
    let whole = end.find('/').and_then(|at| end.get(at..));
    let whole = whole.filter(|whole| whole.width() * 2 >= end.width());
    format!("…{}", whole.unwrap_or(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(column: u32, end: u32) -> Position {
        Position {
            line: Some(1),
            end_line: Some(1),
            column: Some(column),
            end_column: Some(end),
        }
    }

    fn lines(line: &str, position: Position, columns: Option<usize>) -> (String, String) {
        let excerpt = Excerpt::new(line, position, columns).expect("a line");
        let marks = excerpt.marks().unwrap_or_default();
        (
            format!("{}{}{}", excerpt.before, excerpt.marked, excerpt.behind),
            marks,
        )
    }

    #[test]
    fn the_expression_is_marked_by_width_whatever_its_bytes() {
        assert_eq!(
            lines("    total += price(größe)  ", at(13, 27), None),
            (
                "total += price(größe)".into(),
                "         ^^^^^^^^^^^^".into()
            )
        );
        assert_eq!(
            lines("数 = f(数)", at(6, 12), None),
            ("数 = f(数)".into(), "     ^^^^^".into())
        );
        assert_eq!(
            lines("\tif\tf(x):", at(4, 8), None),
            ("if f(x):".into(), "   ^^^^".into())
        );
    }

    #[test]
    fn what_does_not_fit_the_line_marks_nothing() {
        let whole = ("f(x)".to_owned(), String::new());
        assert_eq!(lines("  f(x)", at(2, 6), None), whole);
        for nonsense in [at(5, 2), at(100, 200), at(0, 900), Position::default()] {
            assert_eq!(lines("  f(x)", nonsense, None), whole, "{nonsense:?}");
        }
        // Within a character.
        assert_eq!(lines("ö + f(x)", at(1, 4), None).1, "");
        assert_eq!(Excerpt::new("   ", at(0, 1), None), None);
        let many = Position {
            end_line: Some(3),
            ..at(4, 1)
        };
        assert_eq!(
            lines("x = f(", many, None),
            ("x = f(".into(), "    ^^".into())
        );
    }

    #[test]
    fn a_long_line_is_cut_around_what_is_marked() {
        let line = format!("{}f(x){}", "a + ".repeat(50), " + b".repeat(50));
        let (text, marks) = lines(&line, at(200, 204), Some(40));
        assert_eq!(text, "… + a + a + a + a + f(x) + b + b + b + …");
        assert_eq!(marks, format!("{}^^^^", " ".repeat(20)));
        let (text, _) = lines(&line, Position::default(), None);
        assert_eq!(text.chars().count(), line.trim_end().len().min(WIDTH_MAX));
    }

    #[test]
    fn nothing_drives_the_terminal() {
        let (text, _) = lines("x = '\x1b[2J\u{202e}'", Position::default(), None);
        assert_eq!(text, "x = '\\x1b[2J\\u202e'");
    }

    #[test]
    fn cuts_say_that_they_are() {
        assert_eq!(cut("0123456789", 5), "0123…");
        assert_eq!(cut("数数数", 4), "数…");
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut_path("/a/b/c.py", 7), "…/c.py");
        assert_eq!(cut_path("/a/long_name.py", 6), "…me.py");
        assert_eq!(cut_path("abc", 3), "abc");
        assert_eq!(cut("abc", 0), "");
    }
}
