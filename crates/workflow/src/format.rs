//! The formats of a file, and how large one may be in each: so large that reading it is a matter of moments, whoever wrote it.
//!
//! What people write is small; what programs make they can write as JSON. The reader of each format keeps some
//! values for each byte of a file that means no good, and the one of YAML or TOML is slow besides.

use std::fmt;

use crate::error::FileError;

/// A format, by the ending of a file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `.json`
    Json,
    /// `.toml`
    Toml,
    /// Everything else.
    Yaml,
}

impl Format {
    /// The format of a file of this name.
    #[must_use]
    pub fn of(file_name: &str) -> Self {
        let ending = file_name.rsplit_once('.').map_or("", |(_, ending)| ending);
        if ending.eq_ignore_ascii_case("json") {
            Self::Json
        } else if ending.eq_ignore_ascii_case("toml") {
            Self::Toml
        } else {
            Self::Yaml
        }
    }

    /// The bytes of the largest file that is read.
    #[must_use]
    pub fn limit(self) -> usize {
        match self {
            // A graph of a million tasks, with some ninety bytes for each.
            Self::Json => 90 << 20,
            // Forty thousand tasks: some tenths of a second, at a hundred bytes of memory for each of a hostile file.
            Self::Yaml => 4 << 20,
            // Ten thousand tasks. The crate looks through the tables it has for each one that begins.
            Self::Toml => 1 << 20,
        }
    }

    /// What is wrong with a file of so many bytes, if that is too many: nobody need read it.
    #[must_use]
    pub fn refuse(self, file_name: &str, bytes: u64) -> Option<FileError> {
        let limit = self.limit();
        if bytes <= limit as u64 {
            return None;
        }
        let hint = match self {
            Self::Json => "a program submits larger graphs line by line: POST /v1/workflows".to_owned(),
            Self::Yaml | Self::Toml => format!(
                "write it as JSON, NAME.json, which may have {} bytes; or submit it line by line: POST /v1/workflows",
                Self::Json.limit()
            ),
        };
        Some(FileError {
            file: file_name.to_owned(),
            line: None,
            column: None,
            message: format!("a file in {self} is at most {limit} bytes: {bytes}"),
            hint: Some(hint),
        })
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "JSON",
            Self::Toml => "TOML",
            Self::Yaml => "YAML",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_tells_the_format_and_how_large_a_file_may_be() {
        for (name, format) in [
            ("a.JSON", Format::Json),
            ("b.toml", Format::Toml),
            ("c.yml", Format::Yaml),
            ("json", Format::Yaml),
        ] {
            assert_eq!(Format::of(name), format, "{name}");
            assert_eq!(format.refuse(name, format.limit() as u64), None);
            let refused = format.refuse(name, format.limit() as u64 + 1).unwrap().to_string();
            assert!(refused.contains("line by line") && refused.contains(&format.to_string()), "{refused}");
        }
    }
}
