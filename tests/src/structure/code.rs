//! A source without comments, texts and test modules.

/// Returns `source` with comments, texts and characters replaced by spaces. Line ends stay, so that
/// line numbers stay. *Pure.*
#[must_use]
pub fn without_comments_and_texts(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut code = String::with_capacity(source.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = skipped(bytes, at);
        if end == at {
            code.push(char::from(bytes[at]));
            at += 1;
        } else {
            let blank = |byte: &u8| if *byte == b'\n' { '\n' } else { ' ' };
            code.extend(bytes[at..end].iter().map(blank));
            at = end;
        }
    }
    code
}

/// The end of the comment, text or character that begins at `at`; `at` if there is none.
fn skipped(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let is_word = |at: usize| {
        bytes
            .get(at)
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
    };
    if rest.starts_with(b"//") {
        return at
            + rest
                .iter()
                .position(|byte| *byte == b'\n')
                .unwrap_or(rest.len());
    }
    if rest.starts_with(b"/*") {
        let end = rest.windows(2).position(|pair| pair == b"*/");
        return end.map_or(bytes.len(), |end| at + end + 2);
    }
    if rest.starts_with(b"r") && !(at > 0 && is_word(at - 1)) {
        let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
        if rest.get(1 + hashes) == Some(&b'"') {
            let close = [b"\"", "#".repeat(hashes).as_bytes()].concat();
            let from = 2 + hashes;
            let end = rest[from..]
                .windows(close.len())
                .position(|found| found == close);
            return end.map_or(bytes.len(), |end| at + from + end + close.len());
        }
    }
    if rest.starts_with(b"\"") {
        return at + quoted(rest, b'"');
    }
    // A character, and not a lifetime.
    let is_character = rest.starts_with(b"'")
        && (rest.get(1) == Some(&b'\\')
            || rest.get(2) == Some(&b'\'')
            || rest.get(1).is_some_and(|byte| !byte.is_ascii()));
    if is_character {
        return at + quoted(rest, b'\'');
    }
    at
}

/// Length of the quoted bytes at the beginning of `rest`.
fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Returns `code`, which has no comments and texts, without its modules for tests: their bytes are
/// spaces. *Pure.*
#[must_use]
pub fn without_test_modules(code: &str) -> String {
    const TESTS: &str = "#[cfg(test)]";
    let mut kept = code.to_owned();
    let mut from = 0;
    while let Some(found) = kept[from..].find(TESTS) {
        let begin = from + found;
        let rest = &kept[begin..];
        let end = match (rest.find('{'), rest.find(';')) {
            (Some(brace), semicolon) if semicolon.is_none_or(|at| brace < at) => {
                brace + block(&rest[brace..])
            }
            (_, Some(semicolon)) => semicolon + 1,
            _ => rest.len(),
        };
        let blank: String = rest[..end]
            .chars()
            .map(|c| if c == '\n' { c } else { ' ' })
            .collect();
        kept.replace_range(begin..begin + end, &blank);
        from = begin + blank.len();
    }
    kept
}

/// Length of the block in braces at the beginning of `code`.
fn block(code: &str) -> usize {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

/// Returns the number of lines that are neither blank nor only a comment. *Pure.*
#[must_use]
pub fn lines_of_code(source: &str) -> usize {
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
    source.lines().filter(is_code).count()
}

#[cfg(test)]
mod tests {
    use super::{lines_of_code, without_comments_and_texts, without_test_modules};

    #[test]
    fn comments_texts_and_characters_are_blank_and_lines_stay() {
        let source = "use a; // use b\n\"use c\\\" {\" '\"' r#\"\"use\nd\"# &'a str /* { */ b'{'";
        let code = without_comments_and_texts(source);
        assert_eq!(code.lines().count(), source.lines().count());
        let words: Vec<&str> = code.split_whitespace().collect();
        assert_eq!(words, ["use", "a;", "&'a", "str", "b"]);
    }

    #[test]
    fn modules_for_tests_are_blank() {
        let code = "mod a;\n#[cfg(test)]\nmod tests {\n fn x() {}\n}\nmod b;\n#[cfg(test)]\nmod c;";
        let words = without_test_modules(code);
        let words: Vec<&str> = words.split_whitespace().collect();
        assert_eq!(words, ["mod", "a;", "mod", "b;"]);
    }

    #[test]
    fn blank_lines_and_comments_are_not_code() {
        assert_eq!(lines_of_code("//! a\n\nfn x() {}\n    // b\n"), 1);
    }
}
