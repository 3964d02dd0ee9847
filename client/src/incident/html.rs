//! The report as one HTML page: no script, nothing from elsewhere, and nothing that came from
//! outside is markup.

use super::document::Document;
use super::story::{Block, Text, story};
use crate::fail::visible;
use base64::Engine as _;
use std::fmt::Write as _;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}\
h1{font-size:1.7rem}h2{font-size:1.25rem;margin-top:2rem;border-bottom:1px solid #bbb}\
table{border-collapse:collapse;width:100%;font-size:.85rem}\
th,td{border:1px solid #bbb;padding:.3rem .5rem;text-align:left;vertical-align:top;overflow-wrap:anywhere}\
th{background:#eee;white-space:nowrap}code{font:.9em ui-monospace,monospace;background:#f3f3f3;overflow-wrap:anywhere}\
@media print{body{margin:0;max-width:none;font-size:10pt}h2{break-after:avoid}tr{break-inside:avoid}thead{display:table-header-group}}";

fn escape(raw: &str) -> String {
    let mut out = String::new();
    for c in visible(raw).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

fn inline(parts: &[Text]) -> String {
    let part = |part: &Text| match part {
        // What is written from right to left turns nothing around it.
        Text::Plain(t) if !t.is_ascii() => format!("<bdi>{}</bdi>", escape(t)),
        Text::Plain(t) => escape(t),
        Text::Code(t) if t.is_empty() => String::new(),
        Text::Code(t) => format!("<code><bdi>{}</bdi></code>", escape(t)),
        Text::File(name) => format!("<a href=\"{0}\">{0}</a>", escape(name)),
    };
    let parts: Vec<String> = parts.iter().map(part).filter(|p| !p.is_empty()).collect();
    parts.join(" ")
}

fn block(block: &Block, out: &mut String) {
    match block {
        Block::Title(t) => drop(writeln!(out, "<h1>{}</h1>", escape(t))),
        Block::Heading(t) => drop(writeln!(out, "<h2>{}</h2>", escape(t))),
        Block::Paragraph(parts) => drop(writeln!(out, "<p>{}</p>", inline(parts))),
        Block::List(numbered, items) => {
            let tag = if *numbered { "ol" } else { "ul" };
            let _ = writeln!(out, "<{tag}>");
            for item in items {
                let _ = writeln!(out, "<li>{}</li>", inline(item));
            }
            let _ = writeln!(out, "</{tag}>");
        }
        Block::Table(head, rows) => {
            let _ = write!(out, "<table>\n<thead><tr>");
            for cell in head {
                let _ = write!(out, "<th>{}</th>", escape(cell));
            }
            let _ = writeln!(out, "</tr></thead>\n<tbody>");
            for row in rows {
                let _ = write!(out, "<tr>");
                for cell in row {
                    let _ = write!(out, "<td>{}</td>", inline(std::slice::from_ref(cell)));
                }
                let _ = writeln!(out, "</tr>");
            }
            let _ = writeln!(out, "</tbody>\n</table>");
        }
    }
}

/// The whole page.
pub(crate) fn html(document: &Document) -> String {
    let hash = base64::engine::general_purpose::STANDARD.encode(ledger::sha256(STYLE.as_bytes()));
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>Incident report: {}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n",
        escape(&document.project.name)
    );
    for b in story(document) {
        block(&b, &mut out);
    }
    out.push_str("</body>\n</html>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_is_neither_markup_nor_an_attribute() {
        let hostile = "<script>x</script> \" ' onload=x & ](javascript:x) \u{202e}gpj\u{1b}[2J\n";
        let forms = [
            Text::Plain(hostile.into()),
            Text::Code(hostile.into()),
            Text::File(hostile.into()),
        ];
        for form in forms {
            let html = inline(std::slice::from_ref(&form));
            assert!(!html.contains("<script"), "{html}");
            assert!(
                !html.contains(['\u{202e}', '\u{1b}', '\n', '\'']),
                "{html:?}"
            );
            let own = html.matches('"').count();
            let allowed = if matches!(form, Text::File(_)) { 2 } else { 0 };
            assert_eq!(own, allowed, "{html}");
        }
    }
}
