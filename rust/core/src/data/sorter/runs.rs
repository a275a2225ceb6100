//! Sorted runs in files: one of all records, and one of all words for each key that has some.

#![forbid(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::held::{Held, Run};
use super::layout::Layout;
use crate::error::{Error, Result};

/// All runs that were written.
pub(super) struct Runs {
    files: Vec<RunFile>,
    /// Memory for a run that is written.
    run: Run,
}

/// One file; the bytes of each run follow those of the one before.
pub(super) struct RunFile {
    path: PathBuf,
    file: Option<File>,
    /// Where each run ends.
    ends: Vec<u64>,
}

impl Runs {
    /// No run yet.
    pub(super) fn new(folder: &Path, layout: &Layout) -> Self {
        let words = layout.worded.iter().map(|key| format!("words-{key}"));
        let names = std::iter::once("records".to_owned()).chain(words);
        let files =
            names.map(|name| RunFile { path: folder.join(name), file: None, ends: Vec::new() }).collect();
        Self { files, run: Run::default() }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.files[0].ends.len()
    }

    /// Their files, of which `streams` are read; the memory for runs is given back.
    pub(super) fn into_files(self) -> Vec<RunFile> {
        self.files
    }

    /// Sorts rows and writes them.
    pub(super) fn write(&mut self, layout: &Layout, held: &mut Held) -> Result<()> {
        held.sort(layout, &mut self.run);
        let Self { files, run } = self;
        let streams = std::iter::once(&run.records).chain(&run.words);
        files.iter_mut().zip(streams).try_for_each(|(file, bytes)| file.append(bytes))
    }

    /// The streams of a run, records first, with `size` bytes of each in memory.
    pub(super) fn streams(&self, run: usize, size: usize) -> Vec<Stream> {
        let of_file = |(number, file): (usize, &RunFile)| Stream {
            file: number,
            next: if run == 0 { 0 } else { file.ends[run - 1] },
            end: file.ends[run],
            size,
            ..Stream::default()
        };
        self.files.iter().enumerate().map(of_file).collect()
    }
}

impl RunFile {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let failed = |e| Error::storage(&self.path, "write", e);
        if self.file.is_none() {
            let options = OpenOptions::new().read(true).write(true).create_new(true).open(&self.path);
            self.file = Some(options.map_err(failed)?);
        }
        if let Some(file) = &mut self.file {
            file.write_all(bytes).map_err(failed)?;
        }
        self.ends.push(self.ends.last().unwrap_or(&0) + bytes.len() as u64);
        Ok(())
    }

    fn read(&mut self, from: u64, out: &mut [u8]) -> Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let read = file.seek(SeekFrom::Start(from)).and_then(|_| file.read_exact(out));
        read.map_err(|e| Error::storage(&self.path, "read rows again that were written to", e))
    }
}

/// Bytes of a run from their start to their end, of which a piece is in memory.
#[derive(Default)]
pub(super) struct Stream {
    file: usize,
    /// What is still in the file.
    next: u64,
    end: u64,
    /// Bytes to have in memory.
    size: usize,
    piece: Vec<u8>,
    /// Bytes of the piece that are taken.
    taken: usize,
}

impl Stream {
    /// All of it in memory.
    pub(super) fn of(piece: Vec<u8>) -> Self {
        Self { piece, ..Self::default() }
    }

    /// Whether nothing is left.
    pub(super) fn ended(&self) -> bool {
        self.taken == self.piece.len() && self.next == self.end
    }

    /// Takes the next bytes, of which there are so many.
    pub(super) fn take(&mut self, files: &mut [RunFile], count: usize) -> Result<&[u8]> {
        let left = self.piece.len() - self.taken;
        if left < count {
            let more = ((self.size.max(count) - left) as u64).min(self.end - self.next);
            self.piece.copy_within(self.taken.., 0);
            self.piece.resize(left + more as usize, 0);
            files[self.file].read(self.next, &mut self.piece[left..])?;
            self.next += more;
            self.taken = 0;
        }
        self.taken += count;
        Ok(&self.piece[self.taken - count..self.taken])
    }

    /// The bytes that were taken last, of which there were so many.
    pub(super) fn last(&self, count: usize) -> &[u8] {
        &self.piece[self.taken - count..self.taken]
    }
}
