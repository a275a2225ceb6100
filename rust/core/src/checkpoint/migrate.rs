//! Older schemas: one chain of functions, each from one version of `state.json` to the next.
//!
//! Schema 1 is the first, so the chain is empty; the tests use a chain of their own.

use std::path::Path;

use serde_json::Value;

use super::manifest::newer;
use super::schema::SCHEMA;
use crate::error::{Error, Result};

/// From one schema to the next; the text says what was expected and missing.
pub type Migration = fn(Value) -> Result<Value, String>;

/// `CHAIN[i]` leads from schema i + 1 to i + 2.
pub(super) const CHAIN: &[Migration] = &[];
const _: () = assert!(CHAIN.len() as u32 + 1 == SCHEMA, "every schema but the first has a migration to it");

/// `state.json` of any known schema, as the present one.
pub(super) fn migrate(path: &Path, state: Value) -> Result<Value> {
    along(CHAIN, path, state)
}

/// The same along a chain.
pub(super) fn along(chain: &[Migration], path: &Path, mut state: Value) -> Result<Value> {
    let newest = chain.len() as u64 + 1;
    let schema = match state["schema"].as_u64() {
        Some(schema) if schema > newest => return Err(newer(path, schema)),
        Some(schema) if schema >= 1 => schema,
        _ => {
            let found = &state["schema"];
            return Err(Error::checkpoint(
                path,
                "schema",
                "a version from 1 on",
                found,
                "the file is not from here",
            ));
        }
    };
    for (migration, from) in chain.iter().zip(1_u64..).skip(schema as usize - 1) {
        state = migration(state).map_err(|found| {
            let at = format!("migration from schema {from}");
            Error::checkpoint(path, at, "a state file of that schema", found, "load another checkpoint")
        })?;
        state["schema"] = (from + 1).into();
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// 1 → 2 renames a field, 2 → 3 needs it and adds another.
    const THREE: &[Migration] = &[
        |mut state| {
            state["steps"] = state["step"].take();
            Ok(state)
        },
        |mut state| {
            let steps = state["steps"].as_u64().ok_or("no steps")?;
            state["double"] = (2 * steps).into();
            Ok(state)
        },
    ];

    #[test]
    fn an_older_schema_passes_all_later_migrations() {
        let path = Path::new("state.json");
        let migrated = |state| along(THREE, path, state);
        let new = json!({"schema": 3, "steps": 7, "double": 14, "step": null});
        assert_eq!(migrated(json!({"schema": 1, "step": 7})).unwrap(), new);
        assert_eq!(migrated(json!({"schema": 2, "steps": 7, "step": null})).unwrap(), new);
        assert_eq!(migrated(new.clone()).unwrap(), new);
        let message = migrated(json!({"schema": 2})).unwrap_err().to_string();
        assert!(message.contains("migration from schema 2") && message.contains("no steps"), "{message}");
    }

    #[test]
    fn newer_and_nameless_schemas_are_refused() {
        for (state, part) in [
            (json!({"schema": SCHEMA + 1}), "upgrade"),
            (json!({"schema": 0}), "found 0"),
            (json!({}), "found null"),
            (json!({"schema": "1"}), "found \"1\""),
            (json!([1]), "found null"),
        ] {
            let message = migrate(Path::new("state.json"), state).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
