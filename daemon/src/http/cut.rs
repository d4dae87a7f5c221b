//! Output that was too much, and of which the middle is a hole: how it is read.
//!
//! A program can leave holes, too, and some file systems make one of a long run of zeros; so only a file with the
//! mark of the worker ([`orchd_worker::is_cut`]) is taken for one that was cut.

use orchd_worker::is_cut;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::FileExt;

/// Reads at most `most` bytes at a position; gives the position after them. For a hole it gives a line that says
/// so, and the position after the hole.
pub fn read(file: &File, offset: u64, most: usize) -> io::Result<(Vec<u8>, u64)> {
    let (metadata, mut most) = (file.metadata()?, most);
    let size = metadata.len();
    if is_cut(&metadata) && offset < size {
        let data = next_data(file, offset, size)?;
        if data > offset {
            let missing = data - offset;
            return Ok((
                format!("\n[{missing} bytes of output were too much and are not kept]\n").into(),
                data,
            ));
        }
        let hole = seek(file, SeekFrom::Hole(offset))?;
        most = most.min(usize::try_from(hole - offset).unwrap_or(most));
    }
    let mut bytes = vec![0; most];
    let read = file.read_at(&mut bytes, offset)?;
    bytes.truncate(read);
    Ok((bytes, offset + read as u64))
}

/// Where the part after the hole begins; 0 when there is none.
pub fn last_part(file: &File, metadata: &Metadata) -> u64 {
    let size = metadata.len();
    if !is_cut(metadata) {
        return 0;
    }
    match seek(file, SeekFrom::Hole(0)) {
        Ok(hole) if hole < size => next_data(file, hole, size).unwrap_or(0),
        // A file system without holes; or nothing was cut so far.
        Ok(_) | Err(_) => 0,
    }
}

/// The first position from `offset` on at which there is something; `size` when there is nothing more.
fn next_data(file: &File, offset: u64, size: u64) -> io::Result<u64> {
    match seek(file, SeekFrom::Data(offset)) {
        Ok(data) => Ok(data),
        Err(Errno::NXIO) => Ok(size),
        Err(error) => Err(error.into()),
    }
}
