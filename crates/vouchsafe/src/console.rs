//! Writing for people: 80 columns, color on terminals alone.

use std::io::{self, IsTerminal, Write};

use crate::failure::Failure;

/// Columns that output keeps within.
pub const COLUMNS: usize = 80;

/// How a word stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Good news.
    Good,
    /// Bad news.
    Bad,
    /// A heading.
    Strong,
    /// An aside.
    Faint,
}

/// Whether standard output shows colors: on a terminal, unless NO_COLOR is set.
pub fn has_color() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// `text` in this tone, where colors are shown.
pub fn paint(text: &str, tone: Tone) -> String {
    if !has_color() {
        return text.to_owned();
    }
    let code = match tone {
        Tone::Good => "1;32",
        Tone::Bad => "1;31",
        Tone::Strong => "1",
        Tone::Faint => "2",
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

/// Writes to standard output. That a reader went away is no failure: it has what it wanted.
///
/// # Errors
/// [`Failure`] when it cannot be written for another reason, such as a full disk.
pub fn out(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new("standard output cannot be written").because(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes to standard error, as far as that is possible.
pub fn err(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// `text` broken at spaces so that no line, `indent` spaces included, exceeds [`COLUMNS`]; words that are longer
/// are broken where the line ends. Ends with a newline.
pub fn wrapped(text: &str, indent: usize) -> String {
    hanging("", text, indent)
}

/// As [`wrapped`], with `head` in the place of the first line's indentation.
pub fn hanging(head: &str, text: &str, indent: usize) -> String {
    let width = COLUMNS.saturating_sub(indent).max(1);
    let margin = " ".repeat(indent);
    let mut output = String::new();
    // A head that is wider than the margin takes its room from the first line.
    let beyond = head.chars().count().saturating_sub(indent).min(width.saturating_sub(1));
    let filled = format!("{}{text}", "\u{0}".repeat(beyond));
    for (number, line) in lines(&filled, width).iter().enumerate() {
        let line = line.trim_start_matches('\u{0}');
        let start = if number == 0 { format!("{head:<indent$}") } else { margin.clone() };
        output.push_str(format!("{start}{line}").trim_end());
        output.push('\n');
    }
    output
}

fn lines(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ').flat_map(|word| pieces(word, width)) {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(&word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(&word);
            }
            Some(_) | None => lines.push(word),
        }
    }
    lines
}

/// A word cut into pieces that fit.
fn pieces(word: &str, width: usize) -> Vec<String> {
    let letters: Vec<char> = word.chars().collect();
    if letters.is_empty() {
        return vec![String::new()];
    }
    letters.chunks(width).map(|piece| piece.iter().collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_within_the_columns() {
        let text = format!("some words {} and {}", "x".repeat(200), "more words ".repeat(20));
        for indent in [0, 4, 20] {
            let wrapped = hanging("  head", &text, indent);
            assert!(wrapped.lines().all(|line| line.chars().count() <= COLUMNS), "{wrapped}");
        }
        assert_eq!(hanging("a", "b", 4), "a   b\n");
        assert_eq!(hanging("a wide head: ", "b", 4), "a wide head: b\n");
        assert!(hanging("a wide head: ", &"word ".repeat(40), 4).lines().all(|line| line.len() <= COLUMNS));
    }
}
