//! The rules of the house, held by tests: layering, the form of the source, and documents that say what the code
//! does.
//!
//! A rule is a function from text to what is wrong, so each has a test that feeds it something bad and sees it
//! go red. CONTRIBUTING.md lists the rules for people.

#[path = "house_rules/commands.rs"]
mod commands;
#[path = "house_rules/documents.rs"]
mod documents;
#[path = "house_rules/layers.rs"]
mod layers;
#[path = "house_rules/source.rs"]
mod source;

/// Fails with everything that is wrong, one to a line.
fn none_of(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// What stands between two marks in a document.
fn between<'a>(text: &'a str, name: &str) -> &'a str {
    let (begin, end) = (format!("<!-- {name}: begin -->"), format!("<!-- {name}: end -->"));
    let inside = text.split_once(&begin).and_then(|(_, rest)| rest.split_once(&end));
    inside.unwrap_or_else(|| panic!("the marks {begin} and {end} are missing")).0
}
