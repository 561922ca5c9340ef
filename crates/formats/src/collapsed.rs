//! Collapsed stacks, which flame graph tools read: a line a stack, outermost frame first, and how
//! many ticks it was seen for.
//!
//! ```text
//! <module> (app.py);serve (app.py);parse (lib/parse.py) 812
//! ```
//!
//! Where threads are asked for, the first frame of each line is the thread. A `;` in a name is
//! written `\x3b`. The last line begins with `#` and says how the profile was made and what is
//! missing from it. The format has no place for that: readers pass over a line that does not end in
//! a number of its own, and so nowhere in it does a number follow a space.

use std::collections::BTreeMap;
use std::io::Write;

use invivo_model::Result;
use invivo_model::escape::shown_without;

use crate::counts::Counts;
use crate::places::Tree;
use crate::source::Checked;
use crate::{Options, Writer, names, summary, unwritten};

pub(crate) struct Collapsed;

impl Writer for Collapsed {
    fn write(
        &self,
        profile: &Checked<'_>,
        options: &Options<'_>,
        out: &mut dyn Write,
    ) -> Result<()> {
        let tree = Tree::new(profile, options.by)?;
        let counts = Counts::new(profile)?;
        let lines = counts.by_key.len();
        profile.budget.take_list::<[u64; 5]>(lines)?;
        let mut lines: BTreeMap<(Option<u32>, u32), u64> = BTreeMap::new();
        for (key, ticks) in &counts.by_key {
            let thread = options.threads.then_some(key.thread);
            let node = tree.of_stack[key.stack as usize];
            *lines.entry((thread, node)).or_default() += ticks;
        }
        let labels = tree.places.iter().map(|place| {
            let label = frame(&names::place(profile, *place, options.by));
            profile.budget.take_text(&label)?;
            Ok(label)
        });
        let labels: Vec<String> = labels.collect::<Result<_>>()?;
        for ((thread, node), ticks) in lines {
            let mut path: Vec<u32> = tree.callers(node).collect();
            path.reverse();
            let thread =
                thread.map(|thread| frame(&names::thread(profile, profile.thread(thread))));
            let places = path
                .into_iter()
                .map(|node| &labels[tree.nodes[node as usize].place as usize]);
            for (n, label) in thread.iter().chain(places).enumerate() {
                let between = if n > 0 { ";" } else { "" };
                write!(out, "{between}{label}").map_err(unwritten)?;
            }
            writeln!(out, " {ticks}").map_err(unwritten)?;
        }
        let about = profile.about;
        writeln!(
            out,
            "# samples={} threads={} seconds={} mode={} rate_asked={} rate_reached={} ticks={} \
             missed={} torn={} own_cpu_seconds={} own_processor={} elsewhere={} stopped={}",
            counts.total,
            profile.tables.threads.len(),
            about.duration as f64 / 1e9,
            names::mode(about.mode),
            known(summary::asked(about)),
            known(summary::reached(about)),
            about.ticks,
            about.missed,
            about.torn,
            about.own_time as f64 / 1e9,
            about.looks.own_processor,
            about.looks.elsewhere,
            about.looks.stopped,
        )
        .map_err(unwritten)
    }
}

fn known(rate: Option<f64>) -> String {
    rate.map_or("unknown".to_owned(), |rate| rate.to_string())
}

fn frame(label: &str) -> String {
    shown_without(label, |character| character == ';').into_owned()
}
