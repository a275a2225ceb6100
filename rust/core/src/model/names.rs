//! Names of tensors: the ids of the parameter table and the names of the public checkpoints.
//!
//! | id | public name |
//! |---|---|
//! | `embedding.weight`, `layers.{i}.…`, `norm_f.weight` | `backbone.` + id |
//! | `input.…`, `lm_head.…`, `head.…` | the id |
//!
//! `backbone.embeddings.weight`, the name that some libraries write, is read as the embedding.

#![forbid(unsafe_code)]

use std::borrow::Cow;

use strsim::levenshtein;

use crate::error::{Error, Result};
use crate::params::{Slot, Table};

const BACKBONE: &str = "backbone.";

/// The name of a tensor in public checkpoints.
pub(crate) fn public_name(id: &str) -> String {
    let backbone = ["embedding.", "layers.", "norm_f."].iter().any(|part| id.starts_with(part));
    if backbone { format!("{BACKBONE}{id}") } else { id.to_owned() }
}

/// The id that a public name, or an id itself, stands for. It need not exist.
pub(crate) fn id_of(name: &str) -> Cow<'_, str> {
    match name.strip_prefix(BACKBONE) {
        Some("embeddings.weight") => Cow::Borrowed("embedding.weight"),
        Some(id) => Cow::Borrowed(id),
        None => Cow::Borrowed(name),
    }
}

/// The slot of a tensor by id or public name.
pub(crate) fn find(table: &Table, name: &str) -> Result<Slot> {
    // A head of a user may have ids that start like the backbone: the exact id goes first.
    table.slot(name).or_else(|| table.slot(&id_of(name))).ok_or_else(|| {
        Error::shape(
            "parameter name",
            format!("one of the {} names of the parameter table", table.entries().len()),
            format!("{name:?}{}", nearest(table, name).map_or(String::new(), |n| format!(" (nearest: {n})"))),
        )
    })
}

/// The public name with the least edit distance, if any is near.
fn nearest(table: &Table, name: &str) -> Option<String> {
    table
        .entries()
        .iter()
        .map(|e| public_name(&e.id))
        .map(|candidate| {
            (levenshtein(&candidate, name).min(levenshtein(&id_of(&candidate), name)), candidate)
        })
        .min()
        .filter(|(distance, _)| *distance <= 4)
        .map(|(_, candidate)| candidate)
}

/// Whether a text matches a pattern in which `*` stands for any text, the empty one included.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::{Group, Init, ParamSpec};

    #[test]
    fn public_names_are_mapped_to_their_ids() {
        for id in
            ["embedding.weight", "layers.3.mixer.A_log", "norm_f.weight", "lm_head.weight", "head.scale"]
        {
            assert_eq!(id_of(&public_name(id)), id);
        }
        assert_eq!(public_name("layers.0.norm.weight"), "backbone.layers.0.norm.weight");
        assert_eq!(public_name("input.bias"), "input.bias");
        assert_eq!(id_of("backbone.embeddings.weight"), "embedding.weight");
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest_one() {
        let mut table = Table::new();
        let spec = ParamSpec::new("A_log", [2], Init::Zeros);
        table.declare("layers.0.mixer.", Group::Layer(0), vec![spec]).unwrap();
        assert_eq!(find(&table, "backbone.layers.0.mixer.A_log").unwrap(), 0);
        assert_eq!(find(&table, "layers.0.mixer.A_log").unwrap(), 0);
        let message = find(&table, "layers.0.mixer.Alog").unwrap_err().to_string();
        assert!(message.contains("(nearest: backbone.layers.0.mixer.A_log)"), "{message}");
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text, expected) in [
            ("a.b", "a.b", true),
            ("a.b", "a.bc", false),
            ("*", "", true),
            ("layers.*.A_log", "layers.3.mixer.A_log", true),
            ("layers.*.A_log", "layers.3.mixer.A_log.x", false),
            ("*conv1d*", "layers.0.mixer.conv1d.bias", true),
            ("a*b*b", "ab", false),
            ("a*b*b", "abb", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} on {text}");
        }
    }
}
