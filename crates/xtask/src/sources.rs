//! Where the system fetches Debian packages from: its apt sources, read, never changed.

use std::fs;
use std::path::Path;

/// A place that serves Debian's main archive, as the fields of a deb822 stanza.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mirror {
    uri: String,
    /// As written in the system's sources: a path, or a key block that spans lines.
    signed_by: Option<String>,
}

impl Mirror {
    /// The text of a `.sources` file that offers one suite for one architecture from here.
    pub(crate) fn stanza(&self, suite: &str, architecture: &str) -> String {
        let packages = format!("Targets: Packages\nArchitectures: {architecture}\n");
        self.offering("deb", suite, &packages)
    }

    /// The text of one that offers the source packages of a suite.
    pub(crate) fn source_stanza(&self, suite: &str) -> String {
        self.offering("deb-src", suite, "Targets: Sources\n")
    }

    fn offering(&self, kind: &str, suite: &str, what: &str) -> String {
        let signed_by = self
            .signed_by
            .as_ref()
            .map_or(String::new(), |by| format!("Signed-By: {by}\n"));
        format!(
            "Types: {kind}\nURIs: {}\nSuites: {suite}\nComponents: main\nLanguages: none\n\
             {what}{signed_by}",
            self.uri
        )
    }
}

/// The first Debian mirror among the sources below `etc` (normally `/etc/apt`).
pub(crate) fn mirror(etc: &Path) -> Option<Mirror> {
    let mut files = vec![etc.join("sources.list")];
    let mut parts: Vec<_> = fs::read_dir(etc.join("sources.list.d"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path())
        .collect();
    parts.sort();
    files.extend(parts);
    files.into_iter().find_map(|file| {
        let text = fs::read_to_string(&file).ok()?;
        match file.extension()?.to_str()? {
            "list" => text.lines().find_map(from_line),
            "sources" => text.split("\n\n").find_map(from_stanza),
            _ => None,
        }
    })
}

/// `deb [signed-by=/a/key] http://host/debian suite main`
fn from_line(line: &str) -> Option<Mirror> {
    let rest = line.trim().strip_prefix("deb ")?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let uri = rest
        .split_whitespace()
        .next()
        .filter(|uri| is_debian(uri))?;
    let signed_by = options
        .split_whitespace()
        .find_map(|option| option.strip_prefix("signed-by="));
    Some(Mirror {
        uri: uri.to_owned(),
        signed_by: signed_by.map(str::to_owned),
    })
}

fn from_stanza(stanza: &str) -> Option<Mirror> {
    let field = |name: &str| field(stanza, name);
    if field("Enabled").is_some_and(|value| value == "no") {
        return None;
    }
    field("Types")?
        .split_whitespace()
        .find(|kind| *kind == "deb")?;
    let uri = field("URIs")?
        .split_whitespace()
        .find(|uri| is_debian(uri))?
        .to_owned();
    Some(Mirror {
        uri,
        signed_by: field("Signed-By"),
    })
}

/// The value of a field with its continuation lines, in the form in which it can be written again.
fn field(stanza: &str, name: &str) -> Option<String> {
    let mut lines = stanza.lines().filter(|line| !line.starts_with('#'));
    let first = lines.find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then_some(value)
    })?;
    let mut value = first.trim().to_owned();
    for line in lines.take_while(|line| line.starts_with([' ', '\t'])) {
        value.push('\n');
        value.push_str(line.trim_end());
    }
    Some(value)
}

/// Whether a URI leads to Debian's main archive, not to its security updates, nor to another system's.
fn is_debian(uri: &str) -> bool {
    // Cloud images name a file of mirrors: mirror+file:/etc/apt/mirrors/debian.list
    let last = uri
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or_default();
    last == "debian" || last == "debian.list"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Option<Mirror> {
        let etc = tempfile::tempdir().unwrap();
        fs::create_dir(etc.path().join("sources.list.d")).unwrap();
        for (name, text) in files {
            fs::write(etc.path().join(name), text).unwrap();
        }
        mirror(etc.path())
    }

    #[test]
    fn reads_one_line_sources() {
        let text = "# deb http://old/debian a main\ndeb-src http://src/debian b main\n\
                    deb [ arch=amd64 signed-by=/k.gpg ] https://host/debian/ trixie main contrib\n";
        let mirror = found(&[("sources.list", text)]).unwrap();
        assert_eq!(
            mirror,
            Mirror {
                uri: "https://host/debian/".into(),
                signed_by: Some("/k.gpg".into())
            }
        );
    }

    #[test]
    fn reads_stanzas_and_skips_those_that_are_not_debian_itself() {
        let other = "Types: deb\nURIs: https://elsewhere/tools\nSuites: x\n";
        let debian = "Types: deb\nURIs: http://host/debian-security\nSuites: trixie-security\n\n\
                      Enabled: no\nTypes: deb\nURIs: http://off/debian\nSuites: trixie\n\n\
                      Types: deb deb-src\n# a comment\nURIs:\n http://host/debian\nSuites: trixie\n\
                      Signed-By:\n -----BEGIN\n .\n abc\n -----END\nComponents: main\n";
        let mirror = found(&[
            ("sources.list.d/a.sources", other),
            ("sources.list.d/b.sources", debian),
        ])
        .unwrap();
        assert_eq!(mirror.uri, "http://host/debian");
        assert_eq!(
            mirror.signed_by.as_deref(),
            Some("\n -----BEGIN\n .\n abc\n -----END")
        );
        assert!(
            mirror
                .stanza("forky", "arm64")
                .contains("Signed-By: \n -----BEGIN\n .\n")
        );
    }

    #[test]
    fn finds_nothing_where_only_another_system_is_served() {
        assert_eq!(
            found(&[("sources.list", "deb http://archive/ubuntu noble main\n")]),
            None
        );
        assert_eq!(found(&[]), None);
    }
}
