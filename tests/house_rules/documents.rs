//! Documents: links that lead somewhere, and a code map that has everything and nothing else.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use buildswarm_tests::{files, text, workspace};

use super::{between, none_of};

/// The crates of the code map.
const MAPPED: [&str; 5] = ["core/src", "core/portage/src", "store/src", "net/src", "bins/src"];

/// Files named in backticks.
fn named_files(map: &str) -> BTreeSet<String> {
    map.split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| name.contains('/') && name.contains('.'))
        .map(str::to_owned)
        .collect()
}

fn map_wrong(
    named: &BTreeSet<String>,
    modules: &BTreeSet<String>,
    exists: impl Fn(&str) -> bool,
) -> Vec<String> {
    let gone =
        named.iter().filter(|name| !exists(name)).map(|name| format!("{name} is in the code map, but gone"));
    let unnamed =
        modules.difference(named).map(|name| format!("{name} is not in the code map of ARCHITECTURE.md"));
    gone.chain(unnamed).collect()
}

/// The modules a crate consists of at first sight: what lies directly in its `src`.
fn modules() -> BTreeSet<String> {
    let is_module = |path: &&PathBuf| {
        let name = path.file_name().unwrap_or_default();
        MAPPED.iter().any(|source| path.parent() == Some(Path::new(source)))
            && name != "lib.rs"
            && name != "tests.rs"
    };
    let all: Vec<PathBuf> =
        ["core", "store", "net", "bins"].iter().flat_map(|name| files(name, ".rs")).collect();
    all.iter().filter(is_module).map(|path| path.to_string_lossy().into_owned()).collect()
}

/// A document's text without code, where brackets mean something else.
fn prose(text: &str) -> String {
    let outside = text.split("\n```").step_by(2).collect::<Vec<_>>().join("\n");
    outside.split('`').step_by(2).collect::<Vec<_>>().join("code")
}

/// Targets of `[text](target)`, without those that lead out of the repository.
fn links(text: &str) -> Vec<String> {
    let prose = prose(text);
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    targets
        .filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
        .map(str::to_owned)
        .collect()
}

/// Anchors of a document's headings, as forges make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let outside = text.split("\n```").step_by(2).collect::<Vec<_>>().join("\n");
    let headings = outside.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            title
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
                .collect::<String>()
                .replace(' ', "-")
        })
        .collect()
}

/// `base/../a` without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                parts.pop();
            }
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => parts.push(part),
        }
    }
    parts
}

/// Links of a document that lead nowhere; `read` yields a file's text, or nothing if it is not there.
fn broken(document: &Path, content: &str, read: impl Fn(&Path) -> Option<String>) -> Vec<String> {
    let mut wrong = Vec::new();
    for link in links(content) {
        let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
        let target = match file {
            "" => document.to_owned(),
            file => normal(&document.parent().unwrap_or(Path::new("")).join(file)),
        };
        match read(&target) {
            None => wrong.push(format!("{}: {link} leads nowhere", document.display())),
            Some(text) if !anchor.is_empty() && !anchors(&text).contains(anchor) => {
                wrong.push(format!(
                    "{}: {} has no heading for #{anchor}",
                    document.display(),
                    target.display()
                ));
            }
            Some(_) => {}
        }
    }
    wrong
}

#[test]
fn the_code_map_has_every_module_and_nothing_else() {
    let architecture = text("ARCHITECTURE.md");
    let named = named_files(between(&architecture, "code map"));
    none_of(&map_wrong(&named, &modules(), |name| workspace().join(name).exists()));
    let elsewhere = named_files(&architecture.replace("```", ""));
    none_of(&map_wrong(&elsewhere, &BTreeSet::new(), |name| {
        workspace().join(name).exists() || name.contains('*')
    }));
}

#[test]
fn a_wrong_code_map_is_found() {
    let named = named_files("`core/src/here.rs` is here, `core/src/gone.rs` is not, `core` is no file");
    assert_eq!(named.len(), 2);
    let modules = ["core/src/here.rs", "core/src/new.rs"].map(str::to_owned).into();
    let wrong = map_wrong(&named, &modules, |name| name.ends_with("here.rs"));
    assert!(wrong.len() == 2 && wrong[0].contains("gone.rs") && wrong[1].contains("new.rs"), "{wrong:?}");
}

#[test]
fn links_lead_somewhere() {
    let mut documents = files("docs", ".md");
    documents.extend(["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(PathBuf::from));
    documents.extend(files("core/portage", ".md"));
    documents.extend(files("tests", ".md"));
    documents.extend(files("packaging", ".md"));
    let read = |path: &Path| {
        let path = workspace().join(path);
        if path.is_dir() { Some(String::new()) } else { std::fs::read_to_string(path).ok() }
    };
    assert!(documents.len() > 10, "the documents are looked for in the wrong place");
    none_of(&documents.iter().flat_map(|path| broken(path, &text(path), read)).collect::<Vec<_>>());
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    let read = |path: &Path| (path == Path::new("docs/a.md")).then(|| "# Two words\n".to_owned());
    let content = "[a](../docs/a.md#two-words) [b](b.md) [c](a.md#three) [d](https://x) `[e](e.md)`\n";
    let wrong = broken(Path::new("docs/x.md"), content, read);
    assert_eq!(wrong, ["docs/x.md: b.md leads nowhere", "docs/x.md: docs/a.md has no heading for #three"]);
}
