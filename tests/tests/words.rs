//! Words and phrases that this project does not use, and their replacements.
//!
//! Prose is checked: documents without code, comments and texts of scripts, comments, texts and
//! long function names of Rust sources. `docs/glossary.md` has the words that are used instead.

use anyhow::{Result, ensure};
use std::collections::BTreeSet;
use tests::project::{ProjectFile, files, has_extension};

/// The list itself.
const LIST: &str = "tests/tests/words.rs";

/// Each phrase in lower case, and what to write instead. A comma is a word of its own.
const PHRASES: &[(&str, &str)] = &[
    (
        "whoever",
        "the caller, the operator, the server, an attacker",
    ),
    (
        "whomever",
        "the caller, the operator, the server, an attacker",
    ),
    ("nobody", "no caller, no key, no program, or the passive"),
    ("nobody's", "of no image, of no program"),
    ("somebody", "the operator, a person, another program"),
    ("somebody's", "the operator's, a person's"),
    ("anybody", "any caller, any program"),
    ("everybody", "each program, each machine"),
    ("anew", "again, new"),
    ("mend", "repair"),
    ("mends", "repairs"),
    ("mended", "repaired"),
    ("mending", "repairing"),
    ("told", "reported, received, known"),
    ("lie", "is, are; fail silently"),
    ("lies", "is; corrupts silently"),
    ("lied", "failed silently"),
    ("lying", "being; that drops writes"),
    ("active slot", "booted slot, default slot"),
    ("what came of", "result of"),
    ("go on", "continue"),
    ("goes on", "continues"),
    ("going on", "continuing"),
    ("went on", "continued"),
    ("gone on", "continued"),
    ("go back", "return"),
    ("goes back", "returns"),
    ("went back", "returned, rolled back"),
    ("gone back", "returned"),
    ("come back", "return"),
    ("comes back", "returns"),
    ("came back", "returned"),
    ("give way", "yield"),
    ("gives way", "yields"),
    ("none the worse", "optional, unaffected"),
    ("so many words", "explicitly"),
    ("it is so already", "already in this state"),
    ("says so", "states it"),
    ("not one disk", "no disk"),
    ("found out", "detected"),
    ("finds out", "detects"),
    ("the very", "the same, exactly"),
    ("heed", "obey, act on"),
    ("heeds", "obeys, acts on"),
    ("heeded", "obeyed"),
    ("hand-off", "handoff"),
    ("for want of", "for lack of"),
    ("by way of", "through, by"),
    ("affair", "responsibility, setting"),
    ("affairs", "responsibilities, settings"),
    ("stretch", "segment, part"),
    ("stretches", "segments, parts"),
    (", since", ", because"),
    (", save", ", except"),
    ("save that", "except that"),
    ("save for", "except for"),
    ("lest", "so that not"),
    ("whence", "from which"),
    ("ought", "should"),
    ("in vain", "without result"),
    ("by lot", "at random"),
    ("the like", "similar ones"),
    ("made up of", "made of"),
    ("has it that", "states that"),
];

/// A phrase that was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    line: usize,
    phrase: &'static str,
    replacement: &'static str,
}

/// A word or comma of the prose, in lower case, with its line.
type Word = (usize, String);

#[test]
fn no_prose_uses_a_listed_phrase() -> Result<()> {
    let mut found = Vec::new();
    for file in files("")?.iter().filter(|file| file.path != LIST) {
        for finding in findings(&prose(file)) {
            let Finding {
                line,
                phrase,
                replacement,
            } = finding;
            found.push(format!("{}:{line}: \"{phrase}\": {replacement}", file.path));
        }
    }
    ensure!(
        found.is_empty(),
        "{} listed phrases; write instead:\n{}",
        found.len(),
        found.join("\n")
    );
    Ok(())
}

#[test]
fn phrases_are_found_in_prose_and_not_in_code() {
    let at = |path: &str, text: &str| -> Vec<(usize, &'static str)> {
        let file = ProjectFile {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        findings(&prose(&file))
            .into_iter()
            .map(|finding| (finding.line, finding.phrase))
            .collect()
    };
    let document = "It goes\non, since\nit is `mended`.\n```\nanew\n```\n| a | Nobody |\n";
    assert_eq!(
        at("x.md", document),
        [(1, "goes on"), (2, ", since"), (7, "nobody")]
    );
    let source = "/// Goes\n/// on.\nlet told = \"anew\"; // `mend`\nlet c = '\"'; // lies\n\
                  fn a_slot_is_mended_by_it() {}\nfn mend() {}\nlet r = r#\"told\"#;\n";
    assert_eq!(
        at("x.rs", source),
        [
            (1, "goes on"),
            (3, "anew"),
            (4, "lies"),
            (5, "mended"),
            (7, "told")
        ]
    );
    assert_eq!(at("script", "# Whoever.\n"), [(1, "whoever")]);
    assert!(
        at(
            "x.md",
            "applies, underlying, goes. On the disk, a hand-offs"
        )
        .is_empty()
    );
}

#[test]
fn each_phrase_is_listed_once_in_lower_case() {
    let phrases: BTreeSet<&str> = PHRASES.iter().map(|(phrase, _)| *phrase).collect();
    assert_eq!(phrases.len(), PHRASES.len());
    assert!(
        phrases
            .iter()
            .all(|phrase| *phrase == phrase.to_lowercase())
    );
}

/// Returns the listed phrases in the words, in the order of lines.
fn findings(words: &[Word]) -> Vec<Finding> {
    let mut found = BTreeSet::new();
    for &(phrase, replacement) in PHRASES {
        let wanted = phrase.split(' ').collect::<Vec<_>>();
        for window in words.windows(wanted.len()) {
            let line = window.first().map_or(0, |(line, _)| *line);
            if window.iter().map(|(_, word)| word).eq(wanted.iter()) {
                found.insert(Finding {
                    line,
                    phrase,
                    replacement,
                });
            }
        }
    }
    found.into_iter().collect()
}

/// Returns the words of a file's prose.
fn prose(file: &ProjectFile) -> Vec<Word> {
    let text = if has_extension(&file.path, "rs") {
        rust_prose(&file.text)
    } else if has_extension(&file.path, "md") {
        document_prose(&file.text)
    } else {
        file.text.clone()
    };
    words(&text)
}

/// Splits text into words and punctuation marks.
fn words(text: &str) -> Vec<Word> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut word = String::new();
        for c in line.chars().chain([' ']) {
            if c.is_alphanumeric() || (matches!(c, '\'' | '-' | '_') && !word.is_empty()) {
                word.extend(c.to_lowercase());
                continue;
            }
            if !word.is_empty() {
                found.push((number + 1, std::mem::take(&mut word)));
            }
            // Signs of comments and lists do not part the words of a sentence; others do.
            if !c.is_whitespace() && !matches!(c, '#' | '/' | '!' | '*' | '"' | '>' | '-') {
                found.push((number + 1, c.to_string()));
            }
        }
    }
    found
}

/// Returns a document without its code, line by line.
fn document_prose(text: &str) -> String {
    let mut fenced = false;
    let mut prose = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            prose.push_str(&without_code_spans(line));
        }
        prose.push('\n');
    }
    prose
}

/// Returns a line with its code spans replaced by a mark.
fn without_code_spans(line: &str) -> String {
    let parts: Vec<&str> = line.split('`').collect();
    if parts.len().is_multiple_of(2) {
        // A code span that does not end on its line.
        return line.to_owned();
    }
    let prose: Vec<&str> = parts.into_iter().step_by(2).collect();
    prose.join(";")
}

/// Returns the comments, texts and long function names of a Rust source, line by line.
fn rust_prose(source: &str) -> String {
    let mut prose = String::new();
    let mut state = State::Code;
    for line in source.lines() {
        let mut kept = String::new();
        if state == State::Code {
            kept.push_str(&function_name(line));
        }
        state = scan_line(line, state, &mut kept);
        prose.push_str(&without_code_spans(&kept));
        prose.push('\n');
    }
    prose
}

/// Where a line of Rust begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Code,
    BlockComment,
    Text,
    /// A raw text that ends with a quote and that many `#`.
    RawText(usize),
}

/// Appends comments and texts of one line to `kept`, and returns the state behind the line.
fn scan_line(line: &str, mut state: State, kept: &mut String) -> State {
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let mut len = c.len_utf8();
        match state {
            State::Code if rest.starts_with("//") => {
                kept.push_str(rest);
                return State::Code;
            }
            State::Code => (state, len) = code_step(rest, len),
            State::BlockComment if rest.starts_with("*/") => (state, len) = (State::Code, 2),
            State::Text if c == '"' => state = State::Code,
            // An escaped character, or a line feed that the text leaves out.
            State::Text if c == '\\' => {
                len += rest.chars().nth(1).map_or(0, char::len_utf8);
                kept.push(' ');
            }
            State::RawText(signs) if rest.starts_with(&format!("\"{}", "#".repeat(signs))) => {
                (state, len) = (State::Code, 1 + signs);
            }
            State::BlockComment | State::Text | State::RawText(_) => kept.push(c),
        }
        if state == State::Code && !kept.is_empty() && !kept.ends_with(';') {
            kept.push(';');
        }
        rest = &rest[len..];
    }
    state
}

/// Returns the state behind the next token of code, and the length of the token.
fn code_step(rest: &str, len: usize) -> (State, usize) {
    if rest.starts_with("/*") {
        return (State::BlockComment, 2);
    }
    if let Some(raw) = rest.strip_prefix('r') {
        let signs = raw.len() - raw.trim_start_matches('#').len();
        if raw[signs..].starts_with('"') {
            return (State::RawText(signs), 2 + signs);
        }
    }
    match rest.as_bytes() {
        [b'"', ..] => (State::Text, 1),
        // Character literals that would look like the begin of a text.
        [b'\'', b'"', b'\'', ..] => (State::Code, 3),
        [b'\'', b'\\', _, b'\'', ..] => (State::Code, 4),
        _ => (State::Code, len),
    }
}

/// Returns the words of a function's name, if it is a sentence as the names of tests are.
fn function_name(line: &str) -> String {
    let name = line
        .split_once("fn ")
        .and_then(|(before, after)| {
            let is_item = before.is_empty() || before.ends_with(' ');
            is_item.then(|| after.split('(').next().unwrap_or_default())
        })
        .filter(|name| name.split('_').count() >= 4)
        .filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'));
    name.map_or_else(String::new, |name| format!("{};", name.replace('_', " ")))
}
