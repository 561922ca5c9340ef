//! A flame graph as an SVG image: it can stand in a page or a document, and holds no script. A box
//! tells its share when it is pointed at. The interactive one is the HTML flame graph.
//!
//! Roots are at the top. Boxes narrower than a tenth of a pixel are left out. Dark or light as the
//! reader likes it.

use std::fmt::Write as _;
use std::io::Write;

use invivo_model::Result;
use unicode_width::UnicodeWidthStr;

use crate::counts::Counts;
use crate::escape::markup;
use crate::places::{Step, Tree};
use crate::source::Checked;
use crate::summary::percent;
use crate::table::{fitted, kept};
use crate::{Options, Writer, names, summary, unwritten};

/// Pixels of the image, of its margins, of a row, and of a letter of its fonts.
const WIDTH: f64 = 1200.0;
const MARGIN: f64 = 10.0;
const HEAD: f64 = 58.0;
const ROW: f64 = 18.0;
const LETTER: f64 = 6.7;
const TITLE_LETTER: f64 = 9.1;

/// Pixels below which a box is left out.
const NARROW: f64 = 0.1;

const STYLE: &str = "svg{background:#fff;color:#231a12;font:11px ui-monospace,\"DejaVu Sans Mono\",\
Menlo,Consolas,monospace}text{fill:currentColor}.title{font-size:15px;font-weight:600}\
.own{fill:hsl(28 80% 73%)}.library{fill:hsl(212 62% 76%)}.standard{fill:hsl(150 40% 73%)}\
.native{fill:hsl(230 8% 78%)}.collector{fill:hsl(285 45% 78%)}.task{fill:hsl(190 50% 74%)}\
.all{fill:#e4e1dd}g:hover>rect{stroke:#1d4ed8;stroke-width:1.5}\
@media (prefers-color-scheme:dark){svg{background:#161615;color:#f6f3ef}\
.own{fill:hsl(28 50% 36%)}.library{fill:hsl(212 40% 38%)}.standard{fill:hsl(150 25% 35%)}\
.native{fill:hsl(230 5% 38%)}.collector{fill:hsl(285 28% 40%)}.task{fill:hsl(190 34% 36%)}\
.all{fill:#3a3834}g:hover>rect{stroke:#93c5fd}}";

pub(crate) struct Svg;

impl Writer for Svg {
    fn write(
        &self,
        profile: &Checked<'_>,
        options: &Options<'_>,
        out: &mut dyn Write,
    ) -> Result<()> {
        let counts = Counts::new(profile)?;
        let tree = Tree::new(profile, options.by)?;
        let own = counts.own(&tree);
        let totals = tree.totals(&own);
        profile
            .budget
            .take_list::<(Shown, Shown, u64)>(tree.nodes.len())?;
        let boxes = boxes(&tree, &totals, counts.total);
        let rows = boxes.iter().map(|shown| shown.row).max().unwrap_or(0) + 1;
        let head = head(profile, counts.total, HEAD + rows as f64 * ROW + MARGIN);
        out.write_all(head.as_bytes()).map_err(unwritten)?;
        for shown in boxes {
            let all = || "all".to_owned();
            let (class, name, label, ticks, inside) = match shown.node {
                None => ("all", all(), all(), counts.total, 0),
                Some(node) => {
                    let place = tree.place(node);
                    let class = names::origin(profile.function(place.function));
                    let name = names::place(profile, place, options.by);
                    let label = names::short_place(profile, place, options.by);
                    (
                        class,
                        name,
                        label,
                        totals[node as usize],
                        own[node as usize],
                    )
                }
            };
            let said = format!(
                "{name}\n{}, {}; self {}",
                summary::counted(ticks, "sample"),
                percent(ticks, counts.total),
                percent(inside, counts.total),
            );
            let text = shown.markup(class, &label, &said);
            out.write_all(text.as_bytes()).map_err(unwritten)?;
        }
        out.write_all(b"</svg>\n").map_err(unwritten)
    }
}

fn head(profile: &Checked<'_>, ticks: u64, height: f64) -> String {
    let title = summary::title(profile);
    let facts = summary::facts(profile, ticks).join(" · ");
    let made = summary::made(profile.about);
    let letters = |letter: f64| ((WIDTH - 2.0 * MARGIN) / letter) as usize;
    let middle = WIDTH / 2.0;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\n<title>{}</title>\n\
         <desc>{}</desc>\n<style>{STYLE}</style>\n",
        markup(&title),
        markup(&format!("{facts} · {made}"))
    );
    for (line, class, letters, y) in [
        (&title, "title", letters(TITLE_LETTER), 24),
        (&facts, "facts", letters(LETTER), 44),
    ] {
        // Writing to a String can't fail.
        let _ = writeln!(
            text,
            "<text class=\"{class}\" x=\"{middle}\" y=\"{y}\" text-anchor=\"middle\">{}</text>",
            markup(&fitted(line, letters))
        );
    }
    text
}

/// A box of the image: a node, or all of them.
struct Shown {
    node: Option<u32>,
    row: usize,
    x: f64,
    width: f64,
}

impl Shown {
    fn markup(&self, class: &str, name: &str, said: &str) -> String {
        let y = HEAD + self.row as f64 * ROW;
        let letters = ((self.width - 6.0) / LETTER).max(0.0) as usize;
        let label = if letters >= 3 {
            let label = markup(&begun(name, letters));
            format!(
                "<text x=\"{:.1}\" y=\"{:.1}\">{label}</text>",
                self.x + 3.0,
                y + 12.5
            )
        } else {
            String::new()
        };
        // A line feed of ours must stay one.
        let said: Vec<String> = said.lines().map(markup).collect();
        format!(
            "<g><title>{}</title><rect class=\"{class}\" x=\"{:.2}\" y=\"{y:.0}\" \
             width=\"{:.2}\" height=\"{:.0}\" rx=\"1\"/>{label}</g>\n",
            said.join("\n"),
            self.x,
            (self.width - 0.5).max(NARROW),
            ROW - 1.0,
        )
    }
}

/// As much of a name as there is room for.
fn begun(name: &str, letters: usize) -> String {
    if name.width() <= letters {
        return name.to_owned();
    }
    format!("{}…", kept(name.chars(), letters - 1))
}

/// What is wide enough to be shown, callers before what they call; the heaviest left.
fn boxes(tree: &Tree, totals: &[u64], all: u64) -> Vec<Shown> {
    let inner = WIDTH - 2.0 * MARGIN;
    let scale = inner / all.max(1) as f64;
    let mut boxes = vec![Shown {
        node: None,
        row: 0,
        x: MARGIN,
        width: inner,
    }];
    let heaviest = |node: u32| std::cmp::Reverse(totals[node as usize]);
    // Where the next box of each row begins, in ticks.
    let mut next = vec![0_u64];
    tree.walk_sorted(heaviest, |node, step| {
        if step == Step::Out {
            next.pop();
            return;
        }
        let (from, ticks) = (next[next.len() - 1], totals[node as usize]);
        let row = next.len();
        next[row - 1] += ticks;
        next.push(from);
        let width = ticks as f64 * scale;
        if width >= NARROW {
            boxes.push(Shown {
                node: Some(node),
                row,
                x: MARGIN + from as f64 * scale,
                width,
            });
        }
    });
    boxes
}
