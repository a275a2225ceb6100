//! The documents that are passed to a writer.

#![forbid(unsafe_code)]

use crate::data::schema::ColumnValues;

/// Longest name of a document, in bytes.
pub(super) const MAX_NAME: usize = 4096;

/// Tokens or features of many documents, one after the other.
///
/// ```
/// use ssm_hpn::data::{DocumentColumns, Elements, Kind, ShardWriter, WriterConfig};
///
/// # let folder = tempfile::tempdir().expect("a folder");
/// let config = WriterConfig { vocab_size: Some(300), ..WriterConfig::new(Kind::Tokens, &["tokens"]) };
/// let mut writer = ShardWriter::create(folder.path(), config)?;
/// let documents = |elements, offsets| DocumentColumns { elements, offsets, targets: &[], names: None };
/// writer.append(&documents(Elements::U8("héllo".as_bytes()), &[0, 6]))?; // bytes are ids as they are
/// writer.append(&documents(Elements::U16(&[299, 0, 256]), &[0, 2, 3]))?;
/// let refused = writer.append(&documents(Elements::I64(&[7, -1]), &[0, 2])).unwrap_err();
/// assert!(refused.to_string().contains("found -1"), "{refused}");
/// assert_eq!(writer.n_documents(), 3);
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub enum Elements<'a> {
    /// Bytes as ids.
    U8(&'a [u8]),
    /// Ids.
    U16(&'a [u16]),
    /// Ids.
    U32(&'a [u32]),
    /// Ids, as whole numbers come from Python.
    I64(&'a [i64]),
    /// Features `[tokens, F]`.
    F32(&'a [f32]),
}

/// Many documents at once.
///
/// ```
/// use ssm_hpn::data::{ColumnValues, DocumentColumns, Elements, Extra, Kind, ShardWriter, WriterConfig};
///
/// // Two series of one feature, of two and three tokens, each with a class.
/// let documents = DocumentColumns {
///     elements: Elements::F32(&[0.1, 0.2, 1.0, 2.0, 3.0]),
///     offsets: &[0, 2, 5],
///     targets: &[("label", ColumnValues::Classes(&[0, 1]))],
///     names: None,
/// };
/// # let folder = tempfile::tempdir().expect("a folder");
/// let config = WriterConfig { n_features: Some(1), ..WriterConfig::new(Kind::Features, &["features", "label"]) };
/// let mut writer = ShardWriter::create(folder.path(), config)?;
/// writer.append(&documents)?;
/// assert_eq!(writer.n_documents(), 2);
/// assert_eq!(writer.close(Extra::default())?.n_classes, Some(2));
/// # Ok::<(), ssm_hpn::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct DocumentColumns<'a> {
    /// Tokens or features of all documents.
    pub elements: Elements<'a>,
    /// Document i is tokens `offsets[i]..offsets[i + 1]`; one more than there are documents, from 0 to the end.
    pub offsets: &'a [u64],
    /// The columns of targets by name, in any order: entries of all documents, one for each token or document.
    pub targets: &'a [(&'a str, ColumnValues<'a>)],
    /// Name of each document's source.
    pub names: Option<&'a [String]>,
}
