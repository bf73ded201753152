//! The bytes of a pickle, one after another: no more than there are, whatever the pickle says.

use std::io::{BufRead, BufReader, Read, Take};

use super::{CUT, Checked, wrong};

/// Lines of a pickle are names of modules and their parts.
const LONGEST_LINE: u64 = 256;

/// What is left of a file, or of a part of it.
#[derive(Debug)]
pub(super) struct Input<R> {
    reader: BufReader<Take<R>>,
    taken: u64,
    length: u64,
}

impl<R: Read> Input<R> {
    /// The next `length` bytes of `reader`.
    pub(super) fn new(reader: R, length: u64) -> Self {
        Self {
            reader: BufReader::new(reader.take(length)),
            taken: 0,
            length,
        }
    }

    /// How many bytes were taken.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Checked<[u8; N]> {
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes)?;
        self.taken += N as u64;
        Ok(bytes)
    }

    /// The next byte.
    pub(super) fn byte(&mut self) -> Checked<u8> {
        self.array().map(|[byte]| byte)
    }

    /// The next `n` bytes; that there are so many is known before any memory is.
    pub(super) fn bytes(&mut self, n: u64) -> Checked<Vec<u8>> {
        self.has(n)?;
        let mut bytes = vec![0; n as usize];
        self.reader.read_exact(&mut bytes)?;
        self.taken += n;
        Ok(bytes)
    }

    /// Whether `n` bytes are left.
    pub(super) fn has(&self, n: u64) -> Checked<()> {
        if n > self.length - self.taken || usize::try_from(n).is_err() {
            return wrong(CUT);
        }
        Ok(())
    }

    /// The next line, without its end.
    pub(super) fn line(&mut self) -> Checked<String> {
        let mut line = Vec::new();
        let mut reader = (&mut self.reader).take(LONGEST_LINE);
        let n = reader.read_until(b'\n', &mut line)? as u64;
        self.taken += n;
        if line.pop() != Some(b'\n') {
            return wrong(if n < LONGEST_LINE {
                CUT.to_owned()
            } else {
                format!("names a global of more than {LONGEST_LINE} bytes")
            });
        }
        String::from_utf8(line).or_else(|_| wrong("names a global that is no text"))
    }
}
