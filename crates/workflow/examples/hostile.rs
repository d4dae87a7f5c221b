//! What files cost that mean no good, and large ones with one mistake: the time until the error is told, the memory at its
//! peak, and the error. Each is read by a process of its own.
//!
//! `cargo run --release -p orchd-workflow --example hostile [WORD]` measures those whose name has the word in it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use orchd_workflow::{Format, Wanted, load_all};

/// Tasks of the largest file.
const TASKS: usize = 1_000_000;
/// Bytes of a file that is far too large.
const HUGE: usize = 100 << 20;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next(), arguments.next()) {
        (Some(flag), Some(file)) if flag == "--read" => read(&file),
        (word, _) => measure(&word.unwrap_or_default()),
    }
}

/// Makes each file and has it read.
fn measure(word: &str) -> io::Result<()> {
    let dir = std::env::temp_dir().join(format!("orchd-hostile-{}", std::process::id()));
    fs::create_dir(&dir)?;
    println!("{:<28} {:>8} {:>8} {:>8} {:>8}  error", "file", "MB", "ms", "CPU ms", "MB peak");
    for (name, make) in FILES.iter().filter(|(name, _)| name.contains(word)) {
        let path = dir.join(name);
        fs::write(&path, make(Format::of(name).limit()))?;
        print!("{name:<28} {:>8.1} ", fs::metadata(&path)?.len() as f64 / 1e6);
        let told = Command::new(std::env::current_exe()?).arg("--read").arg(&path).output()?;
        println!(
            "{}{}",
            String::from_utf8_lossy(&told.stdout).trim_end(),
            String::from_utf8_lossy(&told.stderr)
        );
        fs::remove_file(&path)?;
    }
    fs::remove_dir(&dir)
}

/// Reads one as `orchctl workflow check` does, and says what it took.
fn read(file: &str) -> io::Result<()> {
    let started = Instant::now();
    let name = Path::new(file).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let wanted = Wanted { workflow: None, parameters: &BTreeMap::new(), runs: false };
    let told = match Format::of(file).refuse(&name, fs::metadata(file)?.len()) {
        Some(refused) => refused.message,
        None => match load_all(&name, &fs::read_to_string(file)?, wanted) {
            Ok(loaded) => format!("valid: {} tasks", loaded.workflows[0].spec.tasks.len()),
            Err(errors) => format!("{}; {} in all", errors[0].to_string().replace('\n', " "), errors.len()),
        },
    };
    let took = started.elapsed().as_secs_f64() * 1e3;
    // Time on a processor, ns (proc_pid_schedstat(5)): that of a machine which does something else, too.
    let schedstat = fs::read_to_string("/proc/self/schedstat")?;
    let on_cpu: f64 = schedstat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or_default();
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    let peak: f64 = peak.trim().trim_end_matches(" kB").parse().unwrap_or_default();
    println!(
        "{took:>8.0} {:>8.0} {:>8.0}  {}",
        on_cpu / 1e6,
        peak / 1e3,
        told.chars().take(140).collect::<String>()
    );
    Ok(())
}

/// Makes a file of at most so many bytes.
type Make = fn(usize) -> String;

/// The files by their names.
const FILES: [(&str, Make); 40] = [
    ("valid.json", |_| graph(TASKS, |_| "")),
    ("valid-chain.json", |_| {
        tasks(TASKS, |i| match i {
            0 => String::new(),
            _ => format!(",\"dependencies\":[\"t{}\"]", i - 1),
        })
    }),
    ("cycle.json", |_| tasks(TASKS, |i| format!(",\"dependencies\":[\"t{}\"]", (i + TASKS - 1) % TASKS))),
    ("cycle-forward.json", |_| tasks(TASKS, |i| format!(",\"dependencies\":[\"t{}\"]", (i + 1) % TASKS))),
    ("cycle-small-at-end.json", |_| graph(TASKS, |i| if i == TASKS / 2 { "\"t999999\"," } else { "" })),
    ("finally.json", |_| {
        tasks(TASKS, |i| match i {
            0 => ",\"finally\":true".into(),
            _ if i == TASKS - 1 => ",\"dependencies\":[\"t0\"]".into(),
            _ => String::new(),
        })
    }),
    ("unknown-all.json", |_| tasks(TASKS, |i| format!(",\"dependencies\":[\"x{i}\"]"))),
    ("unknown-199.json", |_| {
        tasks(TASKS, |i| if i % 5030 == 0 { format!(",\"dependencies\":[\"x{i}\"]") } else { String::new() })
    }),
    ("unknown-last.json", |_| graph(TASKS, |i| if i == TASKS - 1 { "\"x\"," } else { "" })),
    ("itself.json", |_| tasks(TASKS, |i| format!(",\"dependencies\":[\"t{i}\"]"))),
    ("twice-all.json", |_| tasks(TASKS, |_| ",\"dependencies\":[\"t0\",\"t0\"]".into())),
    ("names-same.json", |_| list(TASKS, |_| "{\"name\":\"a\"}".into())),
    ("names-pairs.json", |_| list(TASKS, |i| format!("{{\"name\":\"t{}\"}}", i % (TASKS / 2)))),
    ("key-unknown-last.json", |_| {
        tasks(TASKS, |i| if i == TASKS - 1 { ",\"comand\":1".into() } else { String::new() })
    }),
    ("template-last.json", |_| {
        tasks(TASKS, |i| if i == TASKS - 1 { ",\"when\":\"tasks.t5.output\"".into() } else { String::new() })
    }),
    ("empty-maps.json", |_| list(TASKS, |_| "{}".into())),
    ("nulls.json", |_| list(TASKS, |_| "null".into())),
    ("comma-end.json", |limit| {
        let mut text = graph(TASKS, |_| "");
        text.truncate(text.len().min(limit - 10) - 2);
        text + ",]}"
    }),
    ("too-many-tasks.json", |limit| list(limit / 3, |_| "1".into())),
    ("numbers.json", |limit| {
        format!("{{\"tasks\":[{{\"name\":\"a\",\"foreach\":[{}1]}}]}}", "1,".repeat(limit / 2 - 30))
    }),
    ("numbers-7m.json", |_| {
        format!("{{\"tasks\":[{{\"name\":\"a\",\"foreach\":[{}1]}}]}}", "1,".repeat(7_000_000))
    }),
    ("numbers-900k.json", |_| {
        format!("{{\"tasks\":[{{\"name\":\"a\",\"foreach\":[{}1]}}]}}", "1,".repeat(900_000))
    }),
    ("string.json", |limit| format!("{{\"tasks\":\"{}\"}}", "x".repeat(limit - 20))),
    ("string-task.json", |limit| {
        format!("{{\"tasks\":[{{\"name\":\"a\",\"shell\":\"{}\"}}]}}", "x".repeat(limit - 50))
    }),
    ("deep.json", |limit| "[".repeat(limit)),
    ("keys.json", |limit| {
        let mut t = String::from("{\"tasks\":[{\"name\":\"a\"}]");
        for i in 0.. {
            if t.len() + 30 > limit {
                break;
            }
            let _ = write!(t, ",\"k{i}\":1");
        }
        t + "}"
    }),
    ("keys-same.json", |_| format!("{{\"tasks\":[{{\"name\":\"a\"{}}}]}}", ",\"x\":1".repeat(90_000))),
    ("parameters.json", |_| {
        let mut t = String::from("{\"tasks\":[{\"name\":\"a\"}],\"parameters\":{\"a\":1");
        for i in 0..99_000 {
            let _ = write!(t, ",\"k{i}\":1");
        }
        t + "}}"
    }),
    ("blanks.json", |limit| format!("{{\"tasks\":[{}]}}", " ".repeat(limit - 20))),
    ("big-tasks.json", |limit| {
        list(limit / 1_000_000, |i| format!("{{\"name\":\"t{i}\",\"shell\":\"{}\"}}", "x".repeat(999_900)))
    }),
    ("foreach.json", |_| {
        list(7_900, |i| {
            format!("{{\"name\":\"t{i}\",\"shell\":\"true\",\"foreach\":[{}1]}}", "1,".repeat(990))
        })
    }),
    ("huge.json", |_| " ".repeat(HUGE)),
    ("huge.yaml", |_| " ".repeat(HUGE)),
    ("string.yaml", |limit| format!("tasks: {}\n", "x".repeat(limit - 10))),
    ("numbers.yaml", |_| format!("a: [{}1]\n", "1,".repeat(490_000))),
    ("tasks.yaml", |_| {
        let mut t = String::from("tasks:\n");
        for i in 0..40_000 {
            let _ =
                writeln!(t, "- {{name: t{i}, shell: 'true', dependencies: [t{}]}}", (i + 39_999) % 40_000);
        }
        t
    }),
    ("deep.yaml", |limit| "[".repeat(limit)),
    ("deep-block.yaml", |limit| "- ".repeat(limit / 2)),
    ("numbers.toml", |limit| format!("a = [{}1]\n", "1,".repeat(limit / 2 - 10))),
    ("tables.toml", |limit| {
        let mut t = String::new();
        for i in 0.. {
            if t.len() + 30 > limit {
                break;
            }
            let _ = writeln!(t, "[a{i}]");
        }
        t
    }),
];

/// A list of tasks, each as it is made.
fn list(count: usize, task: impl Fn(usize) -> String) -> String {
    let mut text = String::from("{\"tasks\":[");
    for i in 0..count {
        // Writing to memory cannot fail.
        let _ = write!(text, "{}{}", if i == 0 { "\n" } else { ",\n" }, task(i));
    }
    text + "]}\n"
}

/// Tasks with a name and a command, and more.
fn tasks(count: usize, more: impl Fn(usize) -> String) -> String {
    list(count, |i| format!("{{\"name\":\"t{i}\",\"command\":[\"true\"]{}}}", more(i)))
}

/// Each task waits for the one before it, the one half as far along, and more.
fn graph(count: usize, more: impl Fn(usize) -> &'static str) -> String {
    tasks(count, |i| match (i, i / 2) {
        (0, _) => String::new(),
        (1 | 2, _) => format!(",\"dependencies\":[{}\"t{}\"]", more(i), i - 1),
        (_, half) => format!(",\"dependencies\":[{}\"t{half}\",\"t{}\"]", more(i), i - 1),
    })
}
