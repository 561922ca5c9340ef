//! Rules about what the documents say.

use super::{Finding, Tree};

const DOCUMENTS: [&str; 7] = [
    "README.md",
    "ARCHITECTURE.md",
    "SECURITY.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
];

pub(super) fn present(tree: &Tree) -> Vec<Finding> {
    let missing = DOCUMENTS
        .into_iter()
        .filter(|name| !tree.texts.contains_key(*name));
    missing
        .map(|name| Finding::new(name, 0, "is missing"))
        .collect()
}

/// Each name in backticks after `Test:` or `Tests:` in SECURITY.md is a test's, or ends with one.
pub(super) fn claims_name_tests(tree: &Tree) -> Vec<Finding> {
    const PATH: &str = "SECURITY.md";
    let Some(text) = tree.texts.get(PATH) else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    let mut claims = 0;
    for (n, line) in text.lines().enumerate() {
        let Some((_, named)) = line
            .split_once("Test: ")
            .or_else(|| line.split_once("Tests: "))
        else {
            continue;
        };
        claims += 1;
        let names: Vec<&str> = named.split('`').skip(1).step_by(2).collect();
        if names.is_empty() {
            findings.push(Finding::new(PATH, n + 1, "names no test: Test: `name`"));
        }
        for name in names {
            let function = name.rsplit("::").next().unwrap_or(name);
            if !is_test(tree, function) {
                findings.push(Finding::new(
                    PATH,
                    n + 1,
                    format!("there is no test {name}"),
                ));
            }
        }
    }
    if claims == 0 {
        findings.push(Finding::new(PATH, 0, "no claim names its test"));
    }
    findings
}

fn is_test(tree: &Tree, function: &str) -> bool {
    let head = format!("fn {function}(");
    tree.rust
        .values()
        .flatten()
        .any(|line| line.test && line.bare.contains(&head))
}

/// Every link in a document to a file of the project finds it.
pub(super) fn links_resolve(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts.iter().filter(|(path, _)| path.ends_with(".md")) {
        for (n, line) in text.lines().enumerate() {
            for target in links(line) {
                let file = target.split('#').next().unwrap_or_default();
                if !file.is_empty() && !resolves(tree, path, file) {
                    findings.push(Finding::new(path, n + 1, format!("{target} leads nowhere")));
                }
            }
        }
    }
    findings
}

/// The targets of `[text](target)` that are no addresses of other places.
fn links(line: &str) -> impl Iterator<Item = &str> {
    let targets = line
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')').map(|(target, _)| target));
    targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
}

fn resolves(tree: &Tree, from: &str, target: &str) -> bool {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." if parts.pop().is_none() => return false,
            ".." => {}
            part => parts.push(part),
        }
    }
    let path = parts.join("/");
    tree.texts.contains_key(&path)
        || tree
            .texts
            .keys()
            .any(|file| file.starts_with(&format!("{path}/")))
}

/// ARCHITECTURE.md tells of every crate.
pub(super) fn crates_are_listed(tree: &Tree) -> Vec<Finding> {
    const PATH: &str = "ARCHITECTURE.md";
    let Some(text) = tree.texts.get(PATH) else {
        return Vec::new();
    };
    let manifests = tree
        .texts
        .keys()
        .filter_map(|path| path.strip_suffix("/Cargo.toml"));
    manifests
        .filter(|crate_path| !text.contains(&format!("`{crate_path}`")))
        .map(|crate_path| Finding::new(PATH, 0, format!("does not tell of `{crate_path}`")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(findings: Vec<Finding>) -> Vec<usize> {
        findings.into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn missing_documents() {
        let findings = present(&Tree::of(&[("README.md", ""), ("LICENSE-MIT", "")]));
        assert_eq!(findings.len(), DOCUMENTS.len() - 2);
    }

    #[test]
    fn claims_without_a_test() {
        let security = "Safe. Test: `held`\nSafe. Tests: `a::held`, `gone`\nSafe. Test: none\nNo claim.\nTest: `helper`\n";
        let code = "fn helper() {}\n#[cfg(test)]\nmod tests {\n    #[test]\n    fn held() {}\n}\n";
        let tree = Tree::of(&[("SECURITY.md", security), ("crates/a/src/a.rs", code)]);
        assert_eq!(lines(claims_name_tests(&tree)), [2, 3, 5]);
        assert_eq!(
            lines(claims_name_tests(&Tree::of(&[(
                "SECURITY.md",
                "Trust us."
            )]))),
            [0]
        );
    }

    #[test]
    fn links_that_lead_nowhere() {
        let text =
            "[a](docs/b.md#c) [d](https://e/f) [g](#h)\n[i](docs/none.md)\n[j](docs) [k](../x)\n";
        let deep = "[up](../README.md)\n[up](../../README.md)\n";
        let tree = Tree::of(&[("README.md", text), ("docs/b.md", deep)]);
        let found: Vec<_> = links_resolve(&tree)
            .into_iter()
            .map(|f| (f.path, f.line))
            .collect();
        let expected = [("README.md", 2), ("README.md", 3), ("docs/b.md", 2)];
        assert_eq!(found, expected.map(|(path, line)| (path.to_owned(), line)));
    }

    #[test]
    fn crates_that_architecture_does_not_tell_of() {
        let tree = Tree::of(&[
            ("ARCHITECTURE.md", "`crates/a`"),
            ("crates/a/Cargo.toml", ""),
            ("crates/b/Cargo.toml", ""),
        ]);
        assert_eq!(
            crates_are_listed(&tree),
            [Finding::new(
                "ARCHITECTURE.md",
                0,
                "does not tell of `crates/b`"
            )]
        );
    }
}
