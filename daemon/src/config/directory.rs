//! The directory of workflow files, `workflow.manager.config_dir`.
//!
//! Invariant: nothing outside of the directory is read. Names come from the directory itself, and links are
//! not followed; who can put a link there shall not have the daemon read what it points to.

use orchd_api::DefinitionSource;
use orchd_model::limits;
use orchd_workflow::{Wanted, load_all};
use rustix::fs::{Dir, FileType, Mode, OFlags, fstat, open, openat};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

use super::definition::{Definition, is_number};

const ENDINGS: [&str; 4] = [".yaml", ".yml", ".json", ".toml"];

/// The workflows of every file of a directory, by the names of the files; what is wrong with a file is told, and
/// the file is left out.
///
/// # Errors
/// When the directory itself cannot be read.
pub fn read(directory: &Path, warnings: &mut Vec<String>) -> Result<Vec<Definition>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = open(directory, flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in Dir::read_from(&opened)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && ENDINGS.iter().any(|ending| name.ends_with(ending)) {
            names.push(name);
        }
    }
    names.sort();
    if names.len() > limits::DEFINITIONS {
        let (limit, count) = (limits::DEFINITIONS, names.len());
        warnings.push(format!("{}: at most {limit} files are read, of {count}", directory.display()));
        names.truncate(limit);
    }
    let mut found: Vec<Definition> = Vec::new();
    for name in names {
        let file = directory.join(&name).display().to_string();
        match read_file(rustix::fd::AsFd::as_fd(&opened), &name) {
            Ok(text) => read_workflows(&file, text.into(), &mut found, warnings),
            Err(why) => warnings.push(format!("{file}: {why}; the file is skipped")),
        }
    }
    Ok(found)
}

fn read_file(directory: BorrowedFd<'_>, name: &str) -> Result<String, String> {
    // Opening a pipe would wait for a writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(directory, name, flags, Mode::empty()).map_err(|error| match error {
        Errno::LOOP => "a link, which is not followed".to_owned(),
        error => error.to_string(),
    })?;
    let status = fstat(&file).map_err(|error| error.to_string())?;
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        return Err("not a regular file".to_owned());
    }
    let limit = limits::DEFINITION_BYTES as u64;
    let mut bytes = Vec::new();
    File::from(file).take(limit + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > limit {
        return Err(format!("a workflow that is kept has at most {limit} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())
}

fn read_workflows(file: &str, text: Arc<str>, found: &mut Vec<Definition>, warnings: &mut Vec<String>) {
    let wanted = Wanted { workflow: None, parameters: &BTreeMap::new(), runs: false };
    let workflows = match load_all(file, &text, wanted) {
        Ok(loaded) => loaded.workflows,
        Err(errors) => {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            return warnings.push(format!("{}\nthe file is skipped", errors.join("\n")));
        }
    };
    for workflow in workflows {
        let name = workflow.spec.name;
        if is_number(&name) {
            warnings.push(format!("{file}: workflow {name} is skipped: its name must not be a number"));
            continue;
        }
        match found.iter().find(|other| other.name == name) {
            Some(first) => {
                warnings
                    .push(format!("{file}: workflow {name} is skipped: {} has one of this name", first.file));
            }
            None => found.push(Definition {
                name,
                source: DefinitionSource::Directory,
                file: file.to_owned(),
                text: Arc::clone(&text),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn good_files_are_read_and_bad_ones_are_told_and_skipped() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("workflows");
        fs::create_dir(&directory).unwrap();
        let good = |name: &str| format!("name: {name}\ntasks: [{{ name: a, shell: 'true' }}]\n");
        fs::write(home.path().join("outside.yaml"), good("outside")).unwrap();
        for (name, text) in [
            ("a.yaml", good("one")),
            ("b.toml", "[workflow.two]\ntasks = [{ name = \"a\" }]\n".to_owned()),
            ("c.yaml", "tasks: [{ name: a, shel: x }]\n".to_owned()),
            ("d.yml", good("one")),
            ("notes.txt", good("text")),
            (".hidden.yaml", good("hidden")),
            ("i.yaml", good("12")),
        ] {
            fs::write(directory.join(name), text).unwrap();
        }
        fs::write(directory.join("e.json"), b"\xff").unwrap();
        symlink("../outside.yaml", directory.join("f.yaml")).unwrap();
        symlink(home.path(), directory.join("g.yaml")).unwrap();
        fs::create_dir(directory.join("h.yaml")).unwrap();
        let mut warnings = Vec::new();
        let found = read(&directory, &mut warnings).unwrap();
        assert_eq!(found.iter().map(|found| &*found.name).collect::<Vec<_>>(), ["one", "two"]);
        let said = |file: &str| {
            let path = directory.join(file).display().to_string();
            let told = warnings.iter().find(|warning| warning.starts_with(&path));
            told.unwrap_or_else(|| panic!("{file} is not told: {warnings:?}")).clone()
        };
        for (file, words) in [
            ("c.yaml", "did you mean shell?"),
            ("i.yaml", "workflow 12 is skipped: its name must not be a number"),
            ("d.yml", "a.yaml has one of this name"),
            ("e.json", "not UTF-8"),
            ("f.yaml", "a link"),
            ("g.yaml", "a link"),
            ("h.yaml", "not a regular file"),
        ] {
            assert!(said(file).contains(words), "{}", said(file));
        }
        assert_eq!(warnings.len(), 7, "{warnings:?}");
        assert_eq!(read(&directory.join("none"), &mut warnings), Err(Errno::NOENT));
    }
}
