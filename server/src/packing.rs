//! gzip and zstd: what a body can be packed with on its way.
//!
//! Duty: pack a body piece by piece, so that a page is never in memory as a whole.
//! Levels: pulls are packed while they are written and use the fastest one; a snapshot is packed once and read often.

use flate2::write::GzEncoder;
use std::io::{self, Write};

/// A body smaller than this is not packed.
pub const LEAST: u64 = 1024;

/// How a body is packed. The plain body is always there too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// RFC 1952; what the stock client asks for.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// How much work a byte is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// For what is sent once.
    Little,
    /// For what is kept.
    Some,
}

impl Encoding {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Gzip, Self::Zstd];

    /// The word of `Accept-Encoding` and `Content-Encoding`.
    pub fn token(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// Ending of a packed file's name.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
        }
    }
}

/// Packs what is written to it into a writer.
pub enum Packer<W: Write> {
    /// gzip.
    Gzip(GzEncoder<W>),
    /// zstd.
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

impl<W: Write> Packer<W> {
    /// Begins.
    pub fn new(encoding: Encoding, effort: Effort, into: W) -> io::Result<Self> {
        Ok(match encoding {
            Encoding::Gzip => {
                let level = if effort == Effort::Little { 1 } else { 4 };
                Self::Gzip(GzEncoder::new(into, flate2::Compression::new(level)))
            }
            Encoding::Zstd => {
                let level = if effort == Effort::Little { 1 } else { 3 };
                let mut encoder = zstd::stream::write::Encoder::new(into, level)?;
                // A file that is cut somewhere must not read as a whole one.
                encoder.include_checksum(true)?;
                Self::Zstd(encoder)
            }
        })
    }

    /// What it writes into.
    pub fn get_mut(&mut self) -> &mut W {
        match self {
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
        }
    }

    /// Ends, and gives the writer back.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

/// A body that is at hand, packed if that is wished and worth it.
pub fn whole(body: Vec<u8>, wish: Option<Encoding>) -> io::Result<(Vec<u8>, Option<Encoding>)> {
    let Some(encoding) = wish.filter(|_| body.len() as u64 >= LEAST) else { return Ok((body, None)) };
    let mut packer = Packer::new(encoding, Effort::Little, Vec::new())?;
    packer.write_all(&body)?;
    Ok((packer.finish()?, wish))
}

impl<W: Write> Write for Packer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}
