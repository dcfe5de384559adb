//! Dependency strings without their USE conditionals, as an index carries them (PMS 8.2).
//!
//! `flag? ( … )` is replaced by its content or dropped, as USE says; inside `|| ( )` a content of several
//! items stays a group. Conditionals inside an atom (`foo[bar?]`) stay: clients evaluate them against the
//! USE the entry names.

use std::collections::BTreeSet;

/// Portage itself stops much earlier; this bounds our recursion.
const DEEPEST: usize = 32;

enum Node {
    Word(String),
    /// The operator before the parenthesis (`||`, `^^`, `??`, `flag?`, or nothing) and the content.
    Group(String, Vec<Self>),
}

/// `text` with conditionals resolved by the flags in `enabled`, or `None` if its parentheses do not match.
pub(super) fn reduce(text: &str, enabled: &BTreeSet<&str>) -> Option<String> {
    if !text.contains('(') {
        return Some(text.to_owned());
    }
    let mut words = text.split_ascii_whitespace();
    let nodes = parse(&mut words, 0, false)?;
    let mut out = Vec::new();
    write(evaluate(nodes, enabled, false), &mut out);
    Some(out.join(" "))
}

fn is_operator(word: &str) -> bool {
    matches!(word, "||" | "^^" | "??") || word.ends_with('?') && !word.contains(['[', '/'])
}

fn parse<'a>(words: &mut impl Iterator<Item = &'a str>, depth: usize, inside: bool) -> Option<Vec<Node>> {
    let mut nodes = Vec::new();
    if depth > DEEPEST {
        return None;
    }
    while let Some(word) = words.next() {
        match word {
            ")" => return inside.then_some(nodes),
            "(" => nodes.push(Node::Group(String::new(), parse(words, depth + 1, true)?)),
            _ if is_operator(word) => {
                if words.next() != Some("(") {
                    return None;
                }
                nodes.push(Node::Group(word.to_owned(), parse(words, depth + 1, true)?));
            }
            _ => nodes.push(Node::Word(word.to_owned())),
        }
    }
    (!inside).then_some(nodes)
}

fn evaluate(nodes: Vec<Node>, enabled: &BTreeSet<&str>, in_choice: bool) -> Vec<Node> {
    let mut out = Vec::new();
    for node in nodes {
        let Node::Group(operator, content) = node else {
            out.push(node);
            continue;
        };
        if matches!(operator.as_str(), "||" | "^^" | "??") {
            let content = evaluate(content, enabled, true);
            if !content.is_empty() {
                out.push(Node::Group(operator, content));
            }
            continue;
        }
        if let Some(flag) = operator.strip_suffix('?') {
            let (flag, wanted) = flag.strip_prefix('!').map_or((flag, true), |flag| (flag, false));
            if enabled.contains(flag) != wanted {
                continue;
            }
        }
        let mut content = evaluate(content, enabled, false);
        if in_choice && content.len() > 1 {
            out.push(Node::Group(String::new(), content));
        } else {
            out.append(&mut content);
        }
    }
    out
}

fn write(nodes: Vec<Node>, out: &mut Vec<String>) {
    for node in nodes {
        match node {
            Node::Word(word) => out.push(word),
            Node::Group(operator, content) => {
                if !operator.is_empty() {
                    out.push(operator);
                }
                out.push("(".to_owned());
                write(content, out);
                out.push(")".to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditionals_are_resolved_by_use() {
        let on = BTreeSet::from(["ssl", "nls"]);
        for (text, expected) in [
            ("a/b c/d", "a/b c/d"),
            ("ssl? ( a/b c/d ) x/y", "a/b c/d x/y"),
            ("!ssl? ( a/b ) x/y", "x/y"),
            ("|| ( ssl? ( a/b c/d ) e/f )", "|| ( ( a/b c/d ) e/f )"),
            ("|| ( !ssl? ( a/b ) )", ""),
            ("( nls? ( zip? ( a/b ) q/r[foo?] ) )", "q/r[foo?]"),
        ] {
            assert_eq!(reduce(text, &on).as_deref(), Some(expected), "{text}");
        }
        for malformed in ["( a/b", "a/b ) (", "ssl? a/b (", &"( ".repeat(50)] {
            assert_eq!(reduce(malformed, &on), None, "{malformed}");
        }
    }
}
