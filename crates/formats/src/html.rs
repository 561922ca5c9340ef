//! What all pages have in common: one file with all it needs, which asks no network, and runs no
//! script but ours whatever a target is named.

pub(crate) mod flame;
pub(crate) mod heat;

use std::io::{self, Write};

use invivo_model::Result;

use crate::escape::markup;
use crate::source::Checked;
use crate::{summary, unwritten};

/// A page of ours.
struct Page<'a> {
    /// What it is called.
    title: &'a str,
    /// Lines below the title, as text.
    lines: &'a [String],
    style: &'a Asset,
    /// What stands in it, as markup.
    body: &'a str,
    script: Option<&'a Asset>,
}

/// A style or script, and what a browser recognises it by: its SHA-256 in base 64.
struct Asset {
    text: &'static str,
    hash: &'static str,
}

impl Page<'_> {
    /// Writes the page; `data` writes what the script reads, as JSON, or where there is no script,
    /// what else stands in the page, as markup.
    fn write(
        &self,
        out: &mut dyn Write,
        data: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<()> {
        out.write_all(self.head().as_bytes()).map_err(unwritten)?;
        out.write_all(self.body.as_bytes()).map_err(unwritten)?;
        if let Some(script) = self.script {
            out.write_all(b"<script type=\"application/json\" id=\"profile\">")
                .map_err(unwritten)?;
            data(&mut InScript(out))?;
            write!(out, "</script>\n<script>{}</script>\n", script.text).map_err(unwritten)?;
        } else {
            data(out)?;
        }
        out.write_all(b"</body>\n</html>\n").map_err(unwritten)
    }

    fn head(&self) -> String {
        let script = self.script.map_or("'none'".to_owned(), |script| {
            format!("'sha256-{}'", script.hash)
        });
        let title = markup(self.title);
        let lines: String = self
            .lines
            .iter()
            .map(|line| format!("<p>{}</p>", markup(line)))
            .collect();
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
             script-src {script}; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title}</title>\n<style>{}</style>\n</head>\n<body>\n\
             <header><h1>{title}</h1>{lines}</header>\n",
            self.style.hash, self.style.text,
        )
    }
}

/// What stands below a page's title: how the profile was made, and what is missing from it.
fn lines(profile: &Checked<'_>, ticks: u64) -> [String; 2] {
    [
        summary::facts(profile, ticks).join(" · "),
        summary::made(profile.about),
    ]
}

/// JSON that stands in an element of a script, which must not end there: a `<` stands in strings
/// only, where it can be written otherwise.
struct InScript<'a>(&'a mut dyn Write);

impl Write for InScript<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for (n, part) in bytes.split(|byte| *byte == b'<').enumerate() {
            if n > 0 {
                self.0.write_all(b"\\u003c")?;
            }
            self.0.write_all(part)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// A browser runs no script whose hash is another.
    #[test]
    fn hashes_are_those_of_the_assets() {
        let python = &synth::interpreters()[0].program;
        let directory = tempfile::tempdir().unwrap();
        for asset in [&flame::STYLE, &flame::SCRIPT, &heat::STYLE] {
            let path = directory.path().join("asset");
            std::fs::write(&path, asset.text).unwrap();
            let code = "import base64, hashlib, sys\n\
                        data = open(sys.argv[1], 'rb').read()\n\
                        print(base64.b64encode(hashlib.sha256(data).digest()).decode())";
            let output = Command::new(python)
                .args(["-c", code])
                .arg(&path)
                .output()
                .unwrap();
            let hash = String::from_utf8(output.stdout).unwrap();
            assert_eq!(hash.trim(), asset.hash, "{}", &asset.text[..60]);
        }
    }
}
