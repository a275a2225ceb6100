//! Settings of heads: class vectors, what contradicts each other, how they are written.

use super::*;

/// The head of these settings with vectors of the classes.
fn with_vectors(json: &str, rows: &[f64], dim: usize) -> crate::error::Result<Box<dyn Head<f64>>> {
    let vectors = ClassVectors::new(rows, dim, &[])?;
    build::<f64>(&serde_json::from_str(json).unwrap(), D, 0, Some(std::sync::Arc::new(vectors)))
}

#[test]
fn prototypes_are_made_from_class_vectors() {
    let rows = numbers::<f64>(9 * 4, 3);
    let given = r#"{"kind":"prototype","n_classes":9,"prototypes":"given"}"#;
    let (shape, values) = made(&*with_vectors(given, &rows, 4).unwrap());
    assert_eq!(shape, [9, 4]);
    for (value, row) in values.chunks(4).zip(rows.chunks(4)) {
        let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
        let expected: Vec<f64> = row.iter().map(|x| x / length).collect();
        assert_close("given", value, &expected, 1e-14);
    }
    let joint = given.replace('}', r#","loss":{"kind":"joint","low":0,"high":1}}"#);
    assert_eq!(made(&*with_vectors(&joint, &rows, 4).unwrap()), (vec![9, 4], values));
    let semantic = r#"{"kind":"prototype","n_classes":9,"dim":8,"prototypes":"semantic"}"#;
    let (shape, values) = made(&*with_vectors(semantic, &rows, 4).unwrap());
    let vectors = ClassVectors::new(&rows, 4, &[]).unwrap();
    assert_eq!(shape, [9, 8]);
    assert!(prototypes::order_kept(&values, 8, &vectors) > 0.8);
}

#[test]
fn class_vectors_that_do_not_fit_are_refused() {
    let rows = numbers::<f64>(9 * 4, 3);
    for (json, count, part) in [
        (r#"{"kind":"prototype","n_classes":9}"#, 9, "model.head.vectors: expected none"),
        (
            r#"{"kind":"prototype","n_classes":9,"prototypes":"given"}"#,
            8,
            "model.head.vectors: expected 9 vectors",
        ),
        (
            r#"{"kind":"prototype","n_classes":9,"prototypes":"semantic"}"#,
            8,
            "model.head.vectors: expected 9 vectors",
        ),
        (
            r#"{"kind":"prototype","n_classes":9,"dim":5,"prototypes":"given"}"#,
            9,
            "model.head.dim: expected 4",
        ),
        (
            r#"{"kind":"prototype","n_classes":9,"prototypes":"given","projection":"identity"}"#,
            9,
            "model.head.dim: expected 4",
        ),
        (
            r#"{"kind":"prototype","n_classes":9,"dim":4,"prototypes":"given","loss":{"kind":"joint"}}"#,
            9,
            "model.head.dim: expected 5",
        ),
        (
            r#"{"kind":"prototype","n_classes":9000,"dim":7,"prototypes":"semantic"}"#,
            9,
            "model.head.prototypes",
        ),
    ] {
        let message = with_vectors(json, &rows[..count * 4], 4).map(|_| ()).unwrap_err().to_string();
        assert!(message.starts_with(part), "{json}: {message}");
    }
    let config = |json: &str| match serde_json::from_str(json).unwrap() {
        HeadConfig::Prototype(config) => config,
        other => panic!("{other:?}"),
    };
    let without = config(r#"{"kind":"prototype","n_classes":9,"dim":5,"prototypes":"semantic"}"#);
    let message = place(&without, 0, None).unwrap_err().to_string();
    assert!(message.starts_with("vectors: expected the vectors of the classes, found none"), "{message}");
    let narrow = config(r#"{"kind":"prototype","n_classes":9,"dim":5,"prototypes":"simplex"}"#);
    let message = place(&narrow, 0, None).unwrap_err().to_string();
    assert!(
        message.starts_with("dim: expected at least 8") && message.ends_with("set prototypes to \"auto\""),
        "{message}"
    );
}

/// The prototypes that a head begins with, and their shape.
fn made(head: &dyn Head<f64>) -> (Vec<usize>, Vec<f64>) {
    let spec = head.params().into_iter().find(|spec| spec.id == "head.prototypes").unwrap();
    let mut values = vec![0.0; spec.shape.iter().product()];
    spec.init.fill(&mut values, spec.shape[1], 0, &spec.id);
    (spec.shape, values)
}

#[test]
fn assigned_by_class_vectors_prototypes_are_the_same_ones_in_another_order() {
    // Nine classes around a circle, each with a number that is the same for all.
    let order = [3, 7, 0, 5, 8, 1, 6, 2, 4];
    let angle = |i: usize| i as f64 * std::f64::consts::TAU / 9.0;
    let rows: Vec<f64> = order.iter().flat_map(|&i| [angle(i).cos(), angle(i).sin(), 2.0]).collect();
    let plain = r#"{"kind":"prototype","n_classes":9,"dim":2,"prototypes":"separated"}"#;
    let assigned = plain.replace('}', r#","assignment":"semantic"}"#);
    let before = made(&*build::<f64>(&serde_json::from_str(plain).unwrap(), D, 0, None).unwrap()).1;
    let after = made(&*with_vectors(&assigned, &rows, 3).unwrap()).1;
    let sorted = |rows: &[f64]| {
        let mut rows: Vec<&[f64]> = rows.chunks_exact(2).collect();
        rows.sort_by(|a, b| a.partial_cmp(b).unwrap());
        rows.concat()
    };
    assert_eq!(sorted(&before), sorted(&after));
    let vectors = ClassVectors::new(&rows, 3, &[]).unwrap();
    let kept = [&before, &after].map(|rows| prototypes::order_kept(rows, 2, &vectors));
    assert!(kept[0] < 0.7 && kept[1] > 0.99, "shares of the order of the vectors: {kept:?}");
    // Without the vectors they come from a checkpoint.
    let head = build::<f64>(&serde_json::from_str(&assigned).unwrap(), D, 0, None).unwrap();
    let spec = head.params().into_iter().find(|spec| spec.id == "head.prototypes").unwrap();
    assert!(matches!(spec.init, Init::Supplied(_)));
}

#[test]
fn more_prototypes_than_memory_holds_are_refused_before_it_is_asked_for() {
    for kind in [Placement::Auto, Placement::Random] {
        let config = PrototypeConfig::of_size(1_000_000_000, 3, kind);
        let refused = place(&config, 0, None).map(drop).unwrap_err().to_string();
        assert!(refused.starts_with("classes, dim: expected at most 268435456 numbers"), "{refused}");
    }
}

#[test]
fn settings_that_contradict_each_other_name_the_key_to_change() {
    for (json, key) in [
        (
            r#"{"kind":"prototype","n_classes":9,"prototypes":"learnable","loss":{"kind":"cosine"}}"#,
            "prototypes",
        ),
        (
            r#"{"kind":"prototype","n_classes":9,"prototypes":"learnable","loss":{"kind":"joint","low":0,"high":1}}"#,
            "prototypes",
        ),
        (
            r#"{"kind":"prototype","prototypes":"random","loss":{"kind":"regression","low":0,"high":1}}"#,
            "prototypes",
        ),
        (r#"{"kind":"prototype"}"#, "n_classes"),
        (r#"{"kind":"prototype","n_classes":1}"#, "n_classes"),
        (r#"{"kind":"prototype","n_classes":9,"dim":1}"#, "dim"),
        (r#"{"kind":"prototype","n_classes":9,"dim":2,"loss":{"kind":"joint","low":0,"high":1}}"#, "dim"),
        (r#"{"kind":"prototype","n_classes":9,"dim":7,"prototypes":"simplex"}"#, "dim"),
        (r#"{"kind":"prototype","n_classes":9,"dim":7,"projection":"identity"}"#, "dim"),
        (r#"{"kind":"prototype","n_classes":9000,"dim":7,"prototypes":"separated"}"#, "prototypes"),
        (r#"{"kind":"prototype","n_classes":9,"loss":{"kind":"softmax","scale":0}}"#, "loss.scale"),
        (r#"{"kind":"prototype","n_classes":9,"loss":{"kind":"margin","margin":2}}"#, "loss.margin"),
        (r#"{"kind":"prototype","loss":{"kind":"regression","low":1,"high":1}}"#, "loss.low"),
        (
            r#"{"kind":"prototype","n_classes":9,"loss":{"kind":"joint","low":0,"high":1,"weight":2}}"#,
            "loss.weight",
        ),
        (r#"{"kind":"linear","n_outputs":0}"#, "n_outputs"),
        (r#"{"kind":"linear","n_outputs":9,"loss":"squared","tied":true}"#, "tied"),
        (r#"{"kind":"linear","n_outputs":9,"smoothing":1.0}"#, "smoothing"),
        (r#"{"kind":"linear","n_outputs":9,"smoothing":-0.1}"#, "smoothing"),
        (r#"{"kind":"linear","n_outputs":9,"loss":"squared","smoothing":0.1}"#, "smoothing"),
        (r#"{"kind":"prototype","n_classes":9,"assignment":"semantic"}"#, "assignment"),
        (
            r#"{"kind":"prototype","n_classes":9,"dim":3,"prototypes":"learnable","assignment":"semantic"}"#,
            "assignment",
        ),
        (
            r#"{"kind":"prototype","n_classes":9,"dim":3,"prototypes":"semantic","assignment":"semantic"}"#,
            "assignment",
        ),
        (
            r#"{"kind":"prototype","n_classes":9,"dim":3,"prototypes":"given","assignment":"semantic"}"#,
            "assignment",
        ),
        (r#"{"kind":"prototype","n_classes":2000,"dim":3,"assignment":"semantic"}"#, "assignment"),
        (r#"{"kind":"prototype","n_classes":9,"dim":3,"spare":1,"assignment":"semantic"}"#, "spare"),
        (
            r#"{"kind":"prototype","assignment":"semantic","loss":{"kind":"regression","low":0,"high":1}}"#,
            "assignment",
        ),
    ] {
        let config: HeadConfig = serde_json::from_str(json).unwrap();
        match build::<f32>(&config, D, 0, None).map(|_| ()) {
            Err(crate::error::Error::Config { key: found, .. }) => {
                assert_eq!(found, format!("model.head.{key}"), "{json}");
            }
            other => panic!("{json}: {other:?}"),
        }
        assert!(config.check(D).is_err(), "{json}");
    }
}

#[test]
fn unknown_settings_are_refused_and_written_ones_read_back() {
    for json in [
        r#"{"kind":"prototype","n_classes":9,"classes":9}"#,
        r#"{"kind":"prototype","n_classes":9,"loss":{"kind":"cosine","scale":1.0}}"#,
        r#"{"kind":"linear","n_outputs":9,"n_classes":9}"#,
        r#"{"kind":"none","n_classes":9}"#,
        r#"{"kind":"quadratic"}"#,
    ] {
        assert!(serde_json::from_str::<HeadConfig>(json).is_err(), "{json}");
    }
    for (json, _) in heads() {
        let config: HeadConfig = serde_json::from_str(json).unwrap();
        let written = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<HeadConfig>(&written).unwrap(), config, "{written}");
    }
}
