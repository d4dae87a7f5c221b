//! The strings that execve(2) takes, in the form the kernel wants them: one buffer of NUL-terminated
//! strings and a null-terminated array of pointers into it. Reused from attempt to attempt.
//!
//! Invariant: after [`CStrings::finish`], and until the next change, every pointer leads to a NUL-terminated
//! string within the buffer, and the last pointer is null.

use std::ffi::c_char;
use std::ptr;

/// A list of C strings.
#[derive(Default)]
pub(crate) struct CStrings {
    bytes: Vec<u8>,
    starts: Vec<usize>,
    pointers: Vec<*const c_char>,
}

/// A string with a NUL in it cannot be passed to a program.
#[derive(Debug)]
pub(crate) struct NulInside;

impl CStrings {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.starts.clear();
        self.pointers.clear();
    }

    /// Appends the concatenation of `parts` as one string.
    pub(crate) fn push(&mut self, parts: &[&[u8]]) -> Result<(), NulInside> {
        self.pointers.clear();
        self.starts.push(self.bytes.len());
        for part in parts {
            if part.contains(&0) {
                return Err(NulInside);
            }
            self.bytes.extend_from_slice(part);
        }
        self.bytes.push(0);
        Ok(())
    }

    /// Builds the array of pointers. Must follow the last push.
    pub(crate) fn finish(&mut self) {
        let base = self.bytes.as_ptr();
        self.pointers.clear();
        self.pointers.extend(self.starts.iter().map(|start| base.wrapping_add(*start).cast::<c_char>()));
        self.pointers.push(ptr::null());
    }

    /// The null-terminated array; empty, and so of no use to the kernel, before [`CStrings::finish`].
    pub(crate) fn pointers(&self) -> &[*const c_char] {
        &self.pointers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_with_a_nul_is_refused() {
        let mut strings = CStrings::default();
        assert!(strings.push(&[b"A=", b"b"]).is_ok());
        assert!(strings.push(&[b"A=", b"b\0c"]).is_err());
    }

    #[test]
    fn the_array_ends_with_null() {
        let mut strings = CStrings::default();
        strings.push(&[b"one"]).unwrap();
        strings.push(&[b"two"]).unwrap();
        strings.finish();
        assert_eq!(strings.pointers().len(), 3);
        assert!(strings.pointers()[2].is_null());
        strings.clear();
        assert!(strings.pointers().is_empty());
    }
}
