//! What a task that failed wrote last: mostly that is why.

use orchd_api::{LogQuery, LogStream};
use orchd_client::Client;
use orchd_model::TaskId;

/// Longer lines are cut: a page is no place for a dump of memory.
const LINE: usize = 1000;

/// The last lines that a task wrote to standard error; nothing when it wrote none, or they are gone.
pub(crate) async fn last_words(client: &Client, id: TaskId, lines: u64) -> Option<String> {
    let query = LogQuery { stream: LogStream::Stderr, tail: Some(lines), ..LogQuery::default() };
    // The failure itself is told in any case; a lost line of it is no failure of ours.
    let output = client.output(id, query).await.ok()?;
    let text = String::from_utf8_lossy(&output);
    let lines: Vec<String> = text.trim_end().lines().map(cut).collect();
    (!text.trim().is_empty()).then(|| lines.join("\n"))
}

fn cut(line: &str) -> String {
    match line.char_indices().nth(LINE) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_cut_between_characters() {
        assert_eq!(cut("short"), "short");
        let long = "é".repeat(LINE + 5);
        assert_eq!(cut(&long).chars().count(), LINE + 1);
    }
}
