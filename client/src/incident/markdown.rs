//! The report as Markdown. Nothing that came from outside is markup, or a link, or calls anybody.

use super::document::Document;
use super::owner::owner;
use super::story::{Block, Text, story};
use crate::fail::visible;
use std::fmt::Write as _;

/// Prose: every character that could begin markup is a character.
fn text(raw: &str) -> String {
    let mut out = String::new();
    let clean = visible(raw);
    let mut rest = clean.chars().peekable();
    while let Some(c) = rest.next() {
        let next = rest.peek().copied();
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '(' | ')' | '#' | '|' | '~' | '!' => {
                out.push('\\');
                out.push(c);
            }
            // Else some readers make links of what looks like an address, also where it is escaped.
            ':' if next == Some('/') => out.push_str("\\[:\\]"),
            // A backslash hinders no forge from telling whom such a name is of.
            '@' => out.push_str("\\[@\\]"),
            '.' if out.to_ascii_lowercase().ends_with("www") => out.push_str("\\[.\\]"),
            // What would begin a list or a heading.
            '-' | '+' | '=' if out.is_empty() => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

/// What ends code, or a table's cell; and what code may hold, but not every reader knows that.
const OUTSIDE: &[char] = &['`', '|', '\\', '<', '>', '[', ']', '!'];

/// Code, where nothing in it could be anything else: else prose.
fn code(raw: &str) -> String {
    let clean = visible(raw);
    if clean.trim() != clean || clean.is_empty() || clean.contains(OUTSIDE) {
        return text(&clean);
    }
    format!("`{clean}`")
}

fn inline(parts: &[Text]) -> String {
    let part = |part: &Text| match part {
        Text::Plain(t) => text(t),
        Text::Code(t) => code(t),
        Text::File(name) => format!("[{name}]({name})"),
    };
    let parts: Vec<String> = parts.iter().map(part).filter(|p| !p.is_empty()).collect();
    parts.join(" ")
}

fn block(block: &Block, out: &mut String) {
    match block {
        Block::Title(t) => drop(writeln!(out, "# {}\n", text(t))),
        Block::Heading(t) => drop(writeln!(out, "## {}\n", text(t))),
        Block::Paragraph(parts) => drop(writeln!(out, "{}\n", inline(parts))),
        Block::List(numbered, items) => {
            for item in items {
                let mark = if *numbered { "1." } else { "-" };
                let _ = writeln!(out, "{mark} {}", inline(item));
            }
            out.push('\n');
        }
        Block::Table(head, rows) => {
            let _ = writeln!(out, "| {} |", head.join(" | "));
            let _ = writeln!(out, "|{}", "---|".repeat(head.len()));
            for row in rows {
                let cells: Vec<String> = row
                    .iter()
                    .map(|c| inline(std::slice::from_ref(c)))
                    .collect();
                let _ = writeln!(out, "| {} |", cells.join(" | "));
            }
            out.push('\n');
        }
    }
}

/// The whole file.
pub(crate) fn markdown(document: &Document) -> String {
    let mut out = String::new();
    for b in story(document) {
        block(&b, &mut out);
    }
    out
}

/// What only whoever has the project's keys does, if there is anything.
pub(crate) fn readme(document: &Document) -> Option<String> {
    let blocks = owner(document);
    let mut out = String::new();
    for b in &blocks {
        block(b, &mut out);
    }
    (!blocks.is_empty()).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_is_neither_markup_nor_a_link() {
        let hostile = "<script>x</script> [a](javascript:alert(1)) ![b](http://evil) `c` | www.evil.example \u{202e}gpj\u{1b}[2J\n# h";
        for form in [text(hostile), code(hostile)] {
            assert!(!form.contains('<') && !form.contains("]("), "{form}");
            assert!(!form.contains("://") && !form.contains("www."), "{form}");
            assert!(!form.contains(['\u{202e}', '\u{1b}', '\n']), "{form:?}");
            // A bar of its own would begin another cell.
            assert!(!form.replace("\\|", "").contains('|'), "{form}");
        }
        assert_eq!(text("- a"), "\\- a");
        assert_eq!(text("2026-01-31T08:30:00Z"), "2026-01-31T08:30:00Z");
        assert_eq!(code("pkg:generic/a@1"), "`pkg:generic/a@1`");
        assert_eq!(code("<b>"), "&lt;b&gt;");
        // Nobody is called by what another wrote, in prose or where code must become prose.
        for form in [text("ask @octocat or @acme/team"), code("`@octocat`")] {
            assert!(!form.contains("@o") && !form.contains("@a"), "{form}");
        }
    }
}
