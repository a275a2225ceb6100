//! Written files read by the `safetensors` crate, and every kind of invalid file, built from literal bytes.

use proptest::prelude::*;
use safetensors::SafeTensors;

use super::*;

/// A file of these bytes.
fn written(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn with_header(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

fn refusal(bytes: &[u8]) -> String {
    let (_folder, path) = written(bytes);
    match TensorFile::open(&path) {
        Err(e @ Error::Checkpoint { .. }) => e.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn damaged_headers_are_refused_with_the_reason() {
    let entry = |shape: &str, offsets: &str| {
        format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    let mut not_text = with_header("{}", 0);
    not_text[8] = 0xff;
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![], "0 bytes"),
        (vec![1; 7], "7 bytes"),
        (vec![0xff; 64], "found 18446744073709551615"),
        (with_header("{}", 0)[..9].to_vec(), "a header of at most 1 bytes, found 2"),
        (not_text, "header"),
        (with_header("[]", 0), "header"),
        (with_header(&"[".repeat(10_000), 0), "header"),
        (with_header(&entry("[2]", "[0,8]"), 7), "size"),
        (with_header(&entry("[2]", "[0,8]"), 9), "size"),
        (with_header(&entry("[3]", "[0,8]"), 8), "header"),
        (with_header(&entry("[2]", "[8,0]"), 8), "header"),
        (with_header(&entry("[2]", "[4,12]"), 12), "header"),
        (with_header(&entry("[-2]", "[0,8]"), 8), "header"),
        (with_header(&entry("[4294967296,4294967296]", "[0,8]"), 8), "header"),
        (with_header(&entry("[2]", "[0,18446744073709551615]"), 8), "header"),
        (with_header(&entry("[2]", "[0,8]").replace("F32", "Q7"), 8), "header"),
    ];
    for (bytes, part) in cases {
        let message = refusal(&bytes);
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_header_longer_than_the_bound_is_not_read() {
    let (_folder, path) = written(&(MAX_HEADER + 1).to_le_bytes());
    File::options().write(true).open(&path).unwrap().set_len(MAX_HEADER + 100).unwrap();
    let message = TensorFile::open(&path).unwrap_err().to_string();
    assert!(message.contains("a header of at most 67108864 bytes"), "{message}");
}

#[test]
fn missing_misshapen_and_mistyped_tensors_are_named() {
    let header = r#"{"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"i":{"dtype":"I64","shape":[1],"data_offsets":[8,16]}}"#;
    let (_folder, path) = written(&with_header(header, 16));
    let file = TensorFile::open(&path).unwrap();
    let message = |name: &str, shape: &[usize], precision| {
        file.check::<f32>(name, shape, precision).unwrap_err().to_string()
    };
    assert!(message("b", &[2], Precision::Same).contains("tensor b: expected a tensor of that name"));
    assert!(message("a", &[3], Precision::Same).contains("tensor a: expected shape [3], found [2, 1]"));
    assert!(message("i", &[1], Precision::Convert).contains("tensor i"));
    assert!(
        file.check::<f64>("a", &[2], Precision::Same)
            .unwrap_err()
            .to_string()
            .contains("type F64, found F32")
    );
    assert!(file.check_names(|name| name == "a").unwrap_err().to_string().contains("tensor i"));
    for shape in [&[2][..], &[2, 1], &[1, 2]] {
        file.check::<f32>("a", shape, Precision::Same).unwrap();
    }
    let mut out = [1.0_f64; 2];
    file.read("a", &[2], Precision::Convert, &mut out).unwrap();
    assert_eq!(out, [0.0; 2]);
}

#[test]
fn writing_requires_distinct_names_and_full_tensors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let tensor = |shape: &[usize]| Tensor { name: "a".into(), shape: shape.to_vec(), data: &[1.0_f32, 2.0] };
    assert!(write_tensors(&path, &[tensor(&[3])]).unwrap_err().to_string().contains("tensor a"));
    assert!(write_tensors(&path, &[tensor(&[2]), tensor(&[2])]).unwrap_err().to_string().contains("a twice"));
}

#[test]
fn half_precision_bits_have_their_values() {
    for (bits, value) in [
        (0x0000, 0.0),
        (0x3c00, 1.0),
        (0xc000, -2.0),
        (0x7bff, 65504.0),
        (0x0400, 6.103_515_625e-5),
        (0x0001, 5.960_464_477_539_063e-8),
        (0x7c00, f64::INFINITY),
        (0xfc00, f64::NEG_INFINITY),
        (0x3555, 0.333_251_953_125),
    ] {
        assert_eq!(f16::from_bits(bits).to_f64(), value, "{bits:#x}");
    }
    assert!(f16::from_bits(0x7e00).is_nan());
    let mut x = [0.0_f32; 2];
    decode(Dtype::BF16, &[0x80, 0x3f, 0x49, 0xc0], &mut x);
    assert_eq!(x, [1.0, -3.140_625]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn written_files_are_read_the_same_by_the_safetensors_crate_and_by_us(
        shapes in prop::collection::btree_map("[a-z.\"\u{e9}]{1,9}", prop::collection::vec(0_usize..5, 0..4), 0..6),
        bits in any::<u32>(),
    ) {
        let data: Vec<Vec<f32>> = shapes
            .values()
            .map(|shape| (0..shape.iter().product::<usize>()).map(|i| {
                let bits = bits.wrapping_mul(i as u32 | 1);
                // Every kind of number but NaN, which is never saved: infinities, subnormals and both zeros.
                if f32::from_bits(bits).is_nan() { -0.0 } else { f32::from_bits(bits) }
            }).collect())
            .collect();
        let tensors: Vec<_> = shapes
            .iter()
            .zip(&data)
            .map(|((name, shape), data)| Tensor { name: name.clone(), shape: shape.clone(), data })
            .collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let record = write_tensors(&path, &tensors).unwrap();
        prop_assert_eq!(&record, &FileRecord::of_file(&path).unwrap());
        let bytes = std::fs::read(&path).unwrap();
        let public = SafeTensors::deserialize(&bytes).unwrap();
        prop_assert_eq!(public.len(), shapes.len());
        let own = TensorFile::open(&path).unwrap();
        for tensor in &tensors {
            let raw: Vec<u8> = tensor.data.iter().flat_map(|x| x.to_le_bytes()).collect();
            let view = public.tensor(&tensor.name).unwrap();
            prop_assert_eq!((view.shape(), view.data()), (&tensor.shape[..], &raw[..]));
            let mut read = vec![7.0_f32; tensor.data.len()];
            own.read(&tensor.name, &tensor.shape, Precision::Same, &mut read).unwrap();
            prop_assert!(read.iter().zip(tensor.data).all(|(a, b)| a.to_bits() == b.to_bits()));
        }
    }
}
