//! safetensors files: written in a stream, read tensor by tensor into the buffers where the numbers belong.
//!
//! ```text
//! 8 bytes     length h of the header, little-endian
//! h bytes     JSON: name → dtype, shape, [start, end) in what follows; "__metadata__" → text by text
//! the rest    the tensors, little-endian, without gaps
//! ```
//!
//! The header is bounded before it is read; the `safetensors` crate parses it and checks that the tensors cover the data
//! without gap or overlap; sizes are checked against the file's. Tensors are written in the order of their names.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde_json::json;

use super::manifest::open;
use crate::allocate::try_filled;
use crate::error::{Error, Result};
use crate::numeric::Scalar;
use crate::storage::{FileRecord, SyncedFile};

/// Longest header that is read. One entry takes some 150 bytes.
const MAX_HEADER: u64 = 64 << 20;
/// Bytes converted at a time.
const CHUNK: usize = 1 << 20;
const DAMAGED: &str = "the file is damaged or not a safetensors file; get it again or take another";

/// A tensor to be written.
#[derive(Clone, Debug)]
pub struct Tensor<'a, T> {
    /// Name in the file.
    pub name: String,
    /// Shape, slowest axis first.
    pub shape: Vec<usize>,
    /// As many numbers as the shape has.
    pub data: &'a [T],
}

/// The number types that [`TensorFile::read`] accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// That of the buffer alone, for resuming to the same bits.
    Same,
    /// Any of F16, BF16, F32 and F64, rounded to the nearest.
    Convert,
}

/// What a file stores under one name.
pub(super) trait Stored {
    /// Name in the file.
    fn name(&self) -> &str;
    /// Shape, slowest axis first.
    fn shape(&self) -> &[usize];
    /// Type of its numbers.
    fn dtype(&self) -> Dtype;
    /// How many numbers there are.
    fn count(&self) -> usize;
    /// The numbers of a range as little-endian bytes in front of `bytes`.
    fn encode<'b>(&self, range: Range<usize>, bytes: &'b mut [u8]) -> Result<&'b [u8]>;

    /// Bytes of a number.
    fn width(&self) -> usize {
        self.dtype().bitsize() / 8
    }
}

impl<T: Scalar> Stored for Tensor<'_, T> {
    fn name(&self) -> &str {
        &self.name
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn dtype(&self) -> Dtype {
        dtype_of::<T>()
    }

    fn count(&self) -> usize {
        self.data.len()
    }

    fn encode<'b>(&self, range: Range<usize>, bytes: &'b mut [u8]) -> Result<&'b [u8]> {
        Ok(encode(&self.data[range], bytes))
    }
}

/// Fills a buffer with the numbers of a range.
pub(crate) type Fetch<'a, T> = dyn Fn(Range<usize>, &mut [T]) -> Result<()> + 'a;

/// A tensor whose numbers are fetched while it is written, a part at a time.
pub(crate) struct FetchedTensor<'a, T> {
    /// Name in the file.
    pub(crate) name: String,
    /// Shape, slowest axis first.
    pub(crate) shape: Vec<usize>,
    /// Gets its numbers.
    pub(crate) fetch: Box<Fetch<'a, T>>,
}

impl<T: Scalar> Stored for FetchedTensor<'_, T> {
    fn name(&self) -> &str {
        &self.name
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn dtype(&self) -> Dtype {
        dtype_of::<T>()
    }

    fn count(&self) -> usize {
        self.shape.iter().product()
    }

    fn encode<'b>(&self, range: Range<usize>, bytes: &'b mut [u8]) -> Result<&'b [u8]> {
        let mut numbers = try_filled(T::ZERO, &[range.len()], "a part of a tensor")?;
        (self.fetch)(range, &mut numbers)?;
        Ok(encode(&numbers, bytes))
    }
}

/// Writes a file and syncs it: wide numbers first, so that all are aligned, then by name.
pub(super) fn write_tensors<S: Stored>(path: &Path, tensors: &[S]) -> Result<FileRecord> {
    let mut sorted: Vec<_> = tensors.iter().collect();
    sorted.sort_by(|a, b| b.width().cmp(&a.width()).then_with(|| a.name().cmp(b.name())));
    let mut file = SyncedFile::create(path)?;
    file.put(&header(&sorted)?)?;
    let mut bytes = vec![0; CHUNK];
    for tensor in sorted {
        let (count, step) = (tensor.count(), CHUNK / tensor.width());
        for start in (0..count).step_by(step) {
            file.put(tensor.encode(start..count.min(start + step), &mut bytes)?)?;
        }
    }
    file.finish()
}

/// Length and JSON, padded so that the data start at a multiple of 8.
fn header<S: Stored>(sorted: &[&S]) -> Result<Vec<u8>> {
    let mut entries = serde_json::Map::new();
    // The key that libraries look for to know whose layout this is; row-major like PyTorch's.
    entries.insert("__metadata__".into(), json!({"format": "pt"}));
    let mut start = 0;
    for tensor in sorted {
        let (name, shape) = (tensor.name(), tensor.shape());
        let elements = shape.iter().product::<usize>();
        if elements != tensor.count() {
            let expected = format!("{elements} numbers for shape {shape:?}");
            return Err(Error::shape(format!("tensor {name}"), expected, tensor.count()));
        }
        let end = start + elements * tensor.width();
        let entry = json!({"dtype": tensor.dtype(), "shape": shape, "data_offsets": [start, end]});
        if entries.insert(name.to_owned(), entry).is_some() {
            return Err(Error::shape("tensors to save", "distinct names", format!("{name} twice")));
        }
        start = end;
    }
    let mut text = serde_json::Value::Object(entries).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut header = (text.len() as u64).to_le_bytes().to_vec();
    header.append(&mut text);
    Ok(header)
}

fn dtype_of<T: Scalar>() -> Dtype {
    if size_of::<T>() == 4 { Dtype::F32 } else { Dtype::F64 }
}

/// Little-endian bytes in front of `bytes`. f32 through f64 and back is exact.
pub(super) fn encode<'b, T: Scalar>(numbers: &[T], bytes: &'b mut [u8]) -> &'b [u8] {
    let bytes = &mut bytes[..size_of_val(numbers)];
    if dtype_of::<T>() == Dtype::F32 {
        for (to, x) in bytes.as_chunks_mut().0.iter_mut().zip(numbers) {
            *to = (x.to_f64() as f32).to_le_bytes();
        }
    } else {
        for (to, x) in bytes.as_chunks_mut().0.iter_mut().zip(numbers) {
            *to = x.to_f64().to_le_bytes();
        }
    }
    bytes
}

/// Numbers from little-endian bytes of a floating type.
fn decode<T: Scalar>(dtype: Dtype, bytes: &[u8], numbers: &mut [T]) {
    fn each<T: Scalar, const N: usize>(bytes: &[u8], out: &mut [T], f: impl Fn([u8; N]) -> f64) {
        for (x, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
            *x = T::from_f64(f(*bytes));
        }
    }
    match dtype {
        Dtype::F64 => each(bytes, numbers, f64::from_le_bytes),
        Dtype::F32 => each(bytes, numbers, |b| f32::from_le_bytes(b).into()),
        Dtype::BF16 => each(bytes, numbers, |b| bf16::from_le_bytes(b).to_f64()),
        _ => each(bytes, numbers, |b| f16::from_le_bytes(b).to_f64()),
    }
}

/// Bytes of a number of a type that is read, if it is one.
fn width(dtype: Dtype) -> Option<usize> {
    match dtype {
        Dtype::F16 | Dtype::BF16 => Some(2),
        Dtype::F32 => Some(4),
        Dtype::F64 => Some(8),
        _ => None,
    }
}

/// An open safetensors file whose header has been checked.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    file: File,
    tensors: BTreeMap<String, TensorInfo>,
    /// Byte offset of the data.
    data: u64,
}

impl TensorFile {
    /// Opens a file and checks its header.
    pub fn open(path: &Path) -> Result<Self> {
        let mut file = open(path)?;
        let failed = |e| Error::storage(path, "read the header", e);
        let refuse = |at: &str, expected: String, found: String| {
            Err(Error::checkpoint(path, at, expected, found, DAMAGED))
        };
        let bytes = file.metadata().map_err(failed)?.len();
        if bytes < 8 {
            return refuse("byte 0", "the length of the header in 8 bytes".into(), format!("{bytes} bytes"));
        }
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(failed)?;
        let length = u64::from_le_bytes(length);
        let limit = MAX_HEADER.min(bytes - 8);
        if length > limit {
            return refuse("byte 0", format!("a header of at most {limit} bytes"), length.to_string());
        }
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header).map_err(failed)?;
        let metadata: Metadata = match serde_json::from_slice(&header) {
            Ok(metadata) => metadata,
            Err(e) => return refuse("header", "names, types, shapes and places".into(), e.to_string()),
        };
        let expected = (8 + length).checked_add(metadata.data_len() as u64);
        if expected != Some(bytes) {
            let expected = expected.map_or("fewer".into(), |n| n.to_string());
            return refuse("size", format!("{expected} bytes by its header"), bytes.to_string());
        }
        let tensors = metadata.tensors().into_iter().map(|(name, info)| (name, info.clone())).collect();
        Ok(Self { path: path.to_path_buf(), file, tensors, data: 8 + length })
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names of the tensors, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Whether it has a tensor of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Shape of a tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|info| info.shape.as_slice())
    }

    /// Refuses a tensor that is missing, of another shape or of a type that `precision` does not take.
    /// Axes of length 1 do not count: a depthwise filter is `[I, 1, K]` in some files and `[I, K]` in others.
    pub fn check<T: Scalar>(&self, name: &str, shape: &[usize], precision: Precision) -> Result<()> {
        let refuse = |expected: String, found: String, advice: &str| {
            Err(Error::checkpoint(&self.path, format!("tensor {name}"), expected, found, advice))
        };
        let Some(info) = self.tensors.get(name) else {
            return refuse("a tensor of that name".into(), "none".into(), "is it of another model?");
        };
        let long = |shape: &[usize]| shape.iter().copied().filter(|&n| n != 1).collect::<Vec<_>>();
        if long(&info.shape) != long(shape) {
            let (expected, found) = (format!("shape {shape:?}"), format!("{:?}", info.shape));
            return refuse(expected, found, "is the model's configuration the one it was written with?");
        }
        let own = dtype_of::<T>();
        match precision {
            Precision::Same if info.dtype != own => refuse(
                format!("numbers of type {own}"),
                info.dtype.to_string(),
                "resume with the number type that it was written with",
            ),
            Precision::Convert if width(info.dtype).is_none() => refuse(
                "numbers of type F16, BF16, F32 or F64".into(),
                info.dtype.to_string(),
                "convert the file first",
            ),
            _ => Ok(()),
        }
    }

    /// Refuses tensors whose name is not expected.
    pub fn check_names(&self, expected: impl Fn(&str) -> bool) -> Result<()> {
        match self.names().find(|name| !expected(name)) {
            None => Ok(()),
            Some(name) => Err(Error::checkpoint(
                &self.path,
                format!("tensor {name}"),
                "only tensors of the model",
                "one that the model does not have",
                "is the model's configuration the one it was written with?",
            )),
        }
    }

    /// Reads a tensor after [`TensorFile::check`]ing it against `shape`.
    ///
    /// # Panics
    /// If `out` has not as many elements as `shape`.
    pub fn read<T: Scalar>(
        &self,
        name: &str,
        shape: &[usize],
        precision: Precision,
        out: &mut [T],
    ) -> Result<()> {
        assert_eq!(out.len(), shape.iter().product::<usize>(), "buffer for {name}");
        self.check::<T>(name, shape, precision)?;
        let info = &self.tensors[name];
        let width = width(info.dtype).unwrap_or(size_of::<T>());
        self.read_chunks(info, width, out, |bytes, numbers| decode(info.dtype, bytes, numbers))
    }

    /// The type, shape and number count of a tensor that there is.
    pub(super) fn entry(&self, name: &str) -> (Dtype, &[usize], usize) {
        let info = &self.tensors[name];
        (info.dtype, &info.shape, info.shape.iter().product())
    }

    /// Reads a tensor of 64-bit whole numbers.
    pub(super) fn read_whole_numbers(&self, name: &str, out: &mut [i64]) -> Result<()> {
        self.read_chunks(&self.tensors[name], size_of::<i64>(), out, |bytes, numbers| {
            for (x, bytes) in numbers.iter_mut().zip(bytes.as_chunks().0) {
                *x = i64::from_le_bytes(*bytes);
            }
        })
    }

    /// Fills `out` by `decode`, some bytes at a time.
    fn read_chunks<T>(
        &self,
        info: &TensorInfo,
        width: usize,
        out: &mut [T],
        decode: impl Fn(&[u8], &mut [T]),
    ) -> Result<()> {
        let failed = |e| Error::storage(&self.path, "read", e);
        let mut file = &self.file;
        file.seek(SeekFrom::Start(self.data + info.data_offsets.0 as u64)).map_err(failed)?;
        let mut bytes = vec![0; CHUNK.min(out.len() * width)];
        for numbers in out.chunks_mut(CHUNK / width) {
            let bytes = &mut bytes[..numbers.len() * width];
            file.read_exact(bytes).map_err(failed)?;
            decode(bytes, numbers);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
