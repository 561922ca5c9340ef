//! An exception as the text that Python's own `traceback` module would print.

use super::{RemoteException, RemoteFrame, SyntaxDetails};

/// How many times the same frame is shown before it is only counted, as in `traceback.py`.
const SHOWN_REPEATS: u64 = 3;

/// How long the text may become. In groups within groups every line has a margin, which may be
/// much longer than itself.
const TEXT_MAX: usize = 16 << 20;

const CAUSE: &str = "\nThe above exception was the direct cause of the following exception:\n\n";
const CONTEXT: &str = "\nDuring handling of the above exception, another exception occurred:\n\n";

/// Gives a line of a file.
pub(super) type LineOf<'a> = dyn FnMut(&str, u32) -> Option<String> + 'a;

/// Writes one exception, with everything that belongs to it.
pub(super) struct Renderer<'a> {
    source: &'a mut LineOf<'a>,
    output: String,
    /// How many exception groups we are in.
    depth: usize,
    /// Whether the line that closes a group is still to be written.
    unclosed: bool,
    /// Whether more was to be written than there is room for.
    is_full: bool,
}

impl<'a> Renderer<'a> {
    pub(super) fn new(source: &'a mut LineOf<'a>) -> Self {
        Self {
            source,
            output: String::new(),
            depth: 0,
            unclosed: false,
            is_full: false,
        }
    }

    pub(super) fn whole(mut self, exception: &RemoteException) -> String {
        self.chain(exception);
        if self.is_full {
            let end = format!("[what follows the first {TEXT_MAX} bytes is not shown]\n");
            self.output.push_str(&end);
        }
        self.output
    }

    /// Appends a line, with its end.
    fn push(&mut self, line: &str) {
        let room = TEXT_MAX.saturating_sub(self.output.len());
        self.is_full |= line.len() > room;
        if !self.is_full {
            self.output.push_str(line);
        }
    }

    /// What it came from, and then itself.
    fn chain(&mut self, exception: &RemoteException) {
        if let Some(cause) = &exception.cause {
            self.chain(cause);
            self.emit(CAUSE, '|');
        } else if let Some(context) = &exception.context
            && !exception.suppress_context
        {
            self.chain(context);
            self.emit(CONTEXT, '|');
        }
        match &exception.members {
            None => {
                let text = self.traceback("Traceback", exception);
                self.emit(&text, '|');
                self.emit(&only(exception), '|');
            }
            Some(members) => self.group(exception, members),
        }
    }

    fn group(&mut self, exception: &RemoteException, members: &[RemoteException]) {
        let outermost = self.depth == 0;
        self.depth += usize::from(outermost);
        let text = self.traceback("Exception Group Traceback", exception);
        if let Some((head, frames)) = text.split_once('\n') {
            self.emit(&format!("{head}\n"), if outermost { '+' } else { '|' });
            self.emit(frames, '|');
        }
        self.emit(&only(exception), '|');
        let left_out = exception.members_left_out;
        let parts = members.len() + usize::from(left_out > 0);
        for place in 0..parts {
            let last = place + 1 == parts;
            self.unclosed |= last;
            let title = if place < members.len() {
                (place + 1).to_string()
            } else {
                "...".to_owned()
            };
            let branch = if place == 0 { "+-" } else { "  " };
            let indent = self.indent();
            self.push(&format!(
                "{indent}{branch}+---------------- {title} ----------------\n"
            ));
            self.depth += 1;
            match members.get(place) {
                Some(member) => self.chain(member),
                None => self.emit(&format!("and {left_out} more\n"), '|'),
            }
            if last && self.unclosed {
                let indent = self.indent();
                self.push(&format!("{indent}+------------------------------------\n"));
                self.unclosed = false;
            }
            self.depth -= 1;
        }
        self.depth -= usize::from(outermost);
    }

    fn indent(&self) -> String {
        "  ".repeat(self.depth)
    }

    /// Appends lines; within a group each with a margin.
    fn emit(&mut self, text: &str, margin: char) {
        let indent = self.indent();
        for line in text.split_inclusive('\n') {
            if self.is_full {
                break;
            }
            if self.depth > 0 {
                self.push(&format!("{indent}{margin} {line}"));
            } else {
                self.push(line);
            }
        }
    }

    /// A heading and the frames; nothing if there are none.
    fn traceback(&mut self, heading: &str, exception: &RemoteException) -> String {
        if exception.frames.is_empty() && exception.frames_left_out == 0 {
            return String::new();
        }
        let mut text = format!("{heading} (most recent call last):\n");
        let middle = exception.frames.len() / 2;
        for (place, frame) in exception.frames.iter().enumerate() {
            if place == middle {
                left_out(&mut text, exception.frames_left_out);
            }
            let one = self.frame(frame);
            for _ in 0..frame.times.min(SHOWN_REPEATS) {
                text.push_str(&one);
            }
            let more = frame.times.saturating_sub(SHOWN_REPEATS);
            if more > 0 {
                let times = if more == 1 { "time" } else { "times" };
                text.push_str(&format!("  [Previous line repeated {more} more {times}]\n"));
            }
        }
        if exception.frames.is_empty() {
            left_out(&mut text, exception.frames_left_out);
        }
        text
    }

    /// The place, and its line of source text with the expression marked, if there is one.
    fn frame(&mut self, frame: &RemoteFrame) -> String {
        let line = frame
            .line
            .map_or_else(|| "?".to_owned(), |line| line.to_string());
        let mut text = format!(
            "  File \"{}\", line {line}, in {}\n",
            frame.file, frame.name
        );
        let source = frame
            .line
            .and_then(|number| (self.source)(&frame.file, number));
        if let Some(source) = source.as_deref().filter(|source| !source.trim().is_empty()) {
            let start = source.len() - source.trim_start().len();
            let shown = source.trim();
            text.push_str(&format!("    {shown}\n"));
            let one_line = frame.end_line.is_none() || frame.end_line == frame.line;
            let range = frame.column.zip(frame.end_column).and_then(|(from, to)| {
                let from = usize::try_from(from).ok()?.checked_sub(start)?;
                let to = usize::try_from(to).ok()?.saturating_sub(start);
                Some((
                    from,
                    if one_line {
                        to.min(shown.len())
                    } else {
                        shown.len()
                    },
                ))
            });
            // As Python: no marks where they would be under all of the line.
            if let Some((from, to)) = range.filter(|&range| range != (0, shown.len())) {
                let (before, marked) = (shown.get(..from), shown.get(from..to));
                if let (Some(before), Some(marked)) = (before, marked.filter(|it| !it.is_empty())) {
                    text.push_str(&marks(before.chars().count(), marked.chars().count()));
                }
            }
        }
        text
    }
}

fn left_out(text: &mut String, count: u64) {
    if count > 0 {
        text.push_str(&format!("  [{count} frames are not shown]\n"));
    }
}

/// A line of marks under source text.
fn marks(before: usize, width: usize) -> String {
    format!("    {}{}\n", " ".repeat(before), "^".repeat(width))
}

/// The exception itself, without where it came from.
fn only(exception: &RemoteException) -> String {
    let mut text = String::new();
    let mut message = exception.text.as_str();
    if let Some(details) = &exception.syntax {
        text.push_str(&syntax(details));
        message = details.message.as_deref().unwrap_or(message);
    }
    text.push_str(&exception.kind);
    if !message.is_empty() {
        text.push_str(": ");
        text.push_str(message);
    }
    text.push('\n');
    for note in &exception.notes {
        text.push_str(note);
        text.push('\n');
    }
    text
}

/// Where a syntax error is.
fn syntax(details: &SyntaxDetails) -> String {
    let Some(line) = details.line else {
        return String::new();
    };
    let mut text = format!(
        "  File \"{}\", line {line}\n",
        details.file.as_deref().unwrap_or("<string>")
    );
    let Some(source) = details.text.as_deref().and_then(|text| text.lines().next()) else {
        return text;
    };
    let shown = source.trim();
    text.push_str(&format!("    {shown}\n"));
    let length = source.chars().count();
    let start = length - source.trim_start().chars().count();
    let column = details
        .column
        .and_then(|column| usize::try_from(column).ok()?.checked_sub(1));
    // An error may be just behind the line's end; what lies farther away is not believed.
    if let Some(from) = column.filter(|&column| column <= length) {
        let same_line = details.end_line.is_none_or(|end| end == line);
        let to = details
            .end_column
            .filter(|_| same_line)
            .and_then(|end| usize::try_from(end).ok()?.checked_sub(1))
            .map_or(if same_line { from + 1 } else { length }, |end| {
                end.min(length)
            });
        let from = from.saturating_sub(start);
        text.push_str(&marks(
            from,
            to.saturating_sub(start).saturating_sub(from).max(1),
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(frame: RemoteFrame, source: &str) -> String {
        let exception = RemoteException {
            kind: "E".to_owned(),
            frames: vec![RemoteFrame {
                file: "f".to_owned(),
                name: "n".to_owned(),
                ..frame
            }],
            ..RemoteException::default()
        };
        exception.render(&mut |_, _| source.lines().next().map(str::to_owned))
    }

    fn marked(columns: (u32, u32), end_line: u32, source: &str) -> String {
        rendered(
            RemoteFrame {
                line: Some(1),
                end_line: Some(end_line),
                column: Some(columns.0),
                end_column: Some(columns.1),
                times: 1,
                ..RemoteFrame::default()
            },
            source,
        )
    }

    #[test]
    fn the_expression_is_marked() {
        let head = "Traceback (most recent call last):\n  File \"f\", line 1, in n\n";
        assert_eq!(
            marked((6, 9), 1, "  x = f() "),
            format!("{head}    x = f()\n        ^^^\nE\n")
        );
        // Columns count bytes, marks count characters.
        assert_eq!(
            marked((4, 7), 1, "\u{e9}\u{e9}+f()"),
            format!("{head}    \u{e9}\u{e9}+f()\n      ^^^\nE\n")
        );
        assert_eq!(
            marked((4, 1), 2, "x = f(\n)"),
            format!("{head}    x = f(\n        ^^\nE\n")
        );
        // All of the line, columns that make no sense, no source.
        assert_eq!(marked((0, 3), 1, "f()"), format!("{head}    f()\nE\n"));
        assert_eq!(
            marked((1, 2), 1, "\u{e9}f()"),
            format!("{head}    \u{e9}f()\nE\n")
        );
        assert_eq!(marked((9, 2), 1, "f()"), format!("{head}    f()\nE\n"));
        assert_eq!(marked((0, 1), 1, ""), format!("{head}E\n"));
    }

    #[test]
    fn repeated_frames_are_folded() {
        let frame = |times| RemoteFrame {
            line: Some(1),
            times,
            ..RemoteFrame::default()
        };
        let text = rendered(frame(5), "f()");
        assert_eq!(text.matches("    f()\n").count(), 3);
        assert!(text.ends_with("  [Previous line repeated 2 more times]\nE\n"));
        assert!(rendered(frame(4), "").contains("repeated 1 more time]"));
        assert!(rendered(frame(u64::MAX), "").len() < 400);
    }

    #[test]
    fn what_margins_make_of_a_text_is_bounded_and_said_to_be_cut() {
        let mut exception = RemoteException {
            kind: "E".to_owned(),
            text: "\n".repeat(1 << 20),
            ..RemoteException::default()
        };
        for _ in 0..50 {
            exception = RemoteException {
                kind: "G".to_owned(),
                members: Some(vec![exception]),
                ..RemoteException::default()
            };
        }
        let text = exception.render(&mut |_, _| None);
        assert!(text.len() <= TEXT_MAX + 100, "{}", text.len());
        assert!(text.ends_with("bytes is not shown]\n"));
    }

    #[test]
    fn hostile_places_of_syntax_errors_stay_in_the_line() {
        let details = |column, end_column| SyntaxDetails {
            text: Some("  a b".to_owned()),
            line: Some(1),
            column: Some(column),
            end_column: Some(end_column),
            ..SyntaxDetails::default()
        };
        assert!(syntax(&details(5, 6)).ends_with("    a b\n      ^\n"));
        assert!(syntax(&details(6, 6)).ends_with("    a b\n       ^\n"));
        assert!(syntax(&details(1, u32::MAX)).ends_with("    a b\n    ^^^\n"));
        assert!(syntax(&details(u32::MAX, 1)).ends_with("    a b\n"));
    }
}
