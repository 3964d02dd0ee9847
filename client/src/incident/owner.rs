//! What a report tells whoever has the project's keys.

use super::document::{Document, Next};
use super::story::{Block, Text, plain, says};

/// What only whoever has the project's keys does: beside what is prepared, and not in what is
/// published. Nothing where there is nothing to do.
pub(super) fn owner(d: &Document) -> Vec<Block> {
    if d.steps.is_empty() {
        return Vec::new();
    }
    let mut out = vec![
        Block::Title(format!("For {}: to be signed next", d.project.name)),
        says(
            "This is for whoever has the project's keys, and not to be published. Run it in the report's directory, the one above this one, in this order; read each file with care before you sign it. Nothing of it is in the log yet.",
        ),
    ];
    if !d.next.is_empty() {
        let beside = |file: &str| file.strip_prefix("next/").unwrap_or(file).to_owned();
        let file = |n: &Next| vec![Text::File(beside(&n.file)), plain(&n.says)];
        out.push(Block::Table(
            vec!["file", "what it says"],
            d.next.iter().map(file).collect(),
        ));
    }
    let steps = d.steps.iter().map(|s| vec![plain(s)]).collect();
    out.push(Block::List(true, steps));
    out
}
