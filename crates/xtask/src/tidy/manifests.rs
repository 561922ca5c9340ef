//! Rules about dependencies.

use super::{Finding, Tree};

/// What each crate may depend on: the edges of ARCHITECTURE.md, and whose library it may use.
/// In tests it may also use `synth`, and what helps to test.
const EDGES: [(&str, &[&str]); 11] = [
    ("model", &[]),
    ("process", &["invivo-model", "libc", "memchr", "rustix"]),
    ("image", &["gimli", "invivo-model", "object"]),
    (
        "cpython",
        &[
            "invivo-model",
            "invivo-process",
            "invivo-image",
            "rustc-hash",
        ],
    ),
    (
        "inject",
        &[
            "invivo-model",
            "invivo-process",
            "invivo-cpython",
            "invivo-image",
            "serde",
            "serde_json",
        ],
    ),
    (
        "profile",
        &[
            "flate2",
            "invivo-cpython",
            "invivo-model",
            "invivo-process",
            "rustc-hash",
        ],
    ),
    (
        "formats",
        &["flate2", "invivo-model", "serde_json", "unicode-width"],
    ),
    (
        "invivo",
        &[
            "invivo-model",
            "invivo-process",
            "invivo-cpython",
            "invivo-inject",
            "invivo-profile",
            "invivo-formats",
            "serde",
            "serde_json",
            "sha2",
        ],
    ),
    (
        "cli",
        &[
            "invivo",
            "clap",
            "clap_complete",
            "clap_mangen",
            "ratatui",
            "serde",
            "serde_json",
            "signal-hook",
            "tempfile",
            "terminal_size",
            "unicode-width",
        ],
    ),
    (
        "synth",
        &["flate2", "rustix", "serde", "serde_json", "tempfile"],
    ),
    (
        "xtask",
        &["rustix", "serde", "serde_json", "synth", "tempfile"],
    ),
];

/// A section of a manifest, and the dependencies named in it with their lines.
fn dependencies(text: &str) -> Vec<(String, usize, String)> {
    let (mut section, mut found) = (String::new(), Vec::new());
    for (n, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
            // [dependencies.name]
            if let Some((before, name)) = section.clone().split_once("dependencies.") {
                section = format!("{before}dependencies");
                found.push((section.clone(), n + 1, name.to_owned()));
                section.clear();
            }
        } else if section.ends_with("dependencies") && !line.starts_with('#') {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            if !name.is_empty() {
                found.push((section.clone(), n + 1, name.to_owned()));
            }
        }
    }
    found
}

pub(super) fn allowed_edges(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in &tree.texts {
        let Some(name) = path
            .strip_prefix("crates/")
            .and_then(|rest| rest.strip_suffix("/Cargo.toml"))
        else {
            continue;
        };
        let Some((_, allowed)) = EDGES.iter().find(|(crate_name, _)| *crate_name == name) else {
            findings.push(Finding::new(
                path,
                0,
                "a crate that crates/xtask/src/tidy/manifests.rs does not know",
            ));
            continue;
        };
        for (section, line, dependency) in dependencies(text) {
            let in_tests = section == "dev-dependencies";
            // What synth builds must not be able to agree with the readers by sharing their code.
            let readers = dependency.starts_with("invivo");
            let allowed =
                allowed.contains(&dependency.as_str()) || in_tests && !(name == "synth" && readers);
            if !allowed {
                let message = format!("{name} may not depend on {dependency}; see ARCHITECTURE.md");
                findings.push(Finding::new(path, line, message));
            }
        }
    }
    findings
}

pub(super) fn dependencies_with_reasons(tree: &Tree) -> Vec<Finding> {
    let Some(text) = tree.texts.get("Cargo.toml") else {
        return vec![Finding::new("Cargo.toml", 0, "is missing")];
    };
    let lines: Vec<&str> = text.lines().collect();
    let reasoned = |line: usize| {
        // Up over the other dependencies of its group.
        let above = lines[..line - 1]
            .iter()
            .rev()
            .find(|above| above.starts_with('#') || above.trim().is_empty());
        above.is_some_and(|above| above.starts_with('#'))
    };
    let ours = |line: usize| lines[line - 1].contains("path =");
    dependencies(text)
        .into_iter()
        .filter(|(section, line, _)| {
            section == "workspace.dependencies" && !ours(*line) && !reasoned(*line)
        })
        .map(|(_, line, name)| {
            Finding::new("Cargo.toml", line, format!("no reason is given for {name}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(path: &str, text: &str) -> Vec<usize> {
        allowed_edges(&Tree::of(&[(path, text)]))
            .into_iter()
            .map(|finding| finding.line)
            .collect()
    }

    #[test]
    fn edges_that_are_not_allowed() {
        let text = "[package]\nname = \"x\"\n[dependencies]\ninvivo-model.workspace = true\n\
                    invivo-inject = { path = \"..\" }\n# libc\n[dependencies.libc]\nversion = \"1\"\n\
                    [target.'cfg(unix)'.dependencies]\nrustix.workspace = true\n\
                    [dev-dependencies]\nsynth.workspace = true\n[lints]\nworkspace = true\n";
        assert_eq!(edges("crates/cpython/Cargo.toml", text), [5, 7, 10]);
    }

    #[test]
    fn synth_knows_no_reader_even_in_tests() {
        assert_eq!(
            edges(
                "crates/synth/Cargo.toml",
                "[dev-dependencies]\ninvivo-cpython.workspace = true"
            ),
            [2]
        );
    }

    #[test]
    fn crates_without_a_row() {
        assert_eq!(edges("crates/new/Cargo.toml", ""), [0]);
    }

    #[test]
    fn reasons() {
        let text = "[workspace.dependencies]\nours = { path = \"x\" }\n\n# Why.\na = \"1\"\nb = \"1\"\n\nc = \"1\"\n";
        let findings = dependencies_with_reasons(&Tree::of(&[("Cargo.toml", text)]));
        assert_eq!(
            findings,
            [Finding::new("Cargo.toml", 8, "no reason is given for c")]
        );
    }
}
