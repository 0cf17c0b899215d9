//! Boot entries as text and as JSON.

use bootctl::entry::{ACTIVE, LoadOption};
use bootctl::reconcile::{BootVars, Facts};
use bootctl::status::choice_word;
use cli::output::printable;
use record::Choice;
use serde::Serialize;

#[derive(Serialize)]
struct EntryJson {
    number: String,
    order: Option<usize>,
    next: bool,
    current: bool,
    active: bool,
    choice: Option<&'static str>,
    description: String,
    file: Option<String>,
    partuuid: Option<String>,
}

/// The boot entries as JSON, schema `rayos-bootctl.entries/1`.
#[derive(Serialize)]
pub(crate) struct EntriesJson {
    schema: &'static str,
    entries: Vec<EntryJson>,
}

/// Returns one entry. `number` is `None` for a misspelled one, which is in no order.
fn entry_json(
    vars: &BootVars,
    facts: Option<&Facts>,
    digits: String,
    number: Option<u16>,
    bytes: &[u8],
) -> EntryJson {
    let option = LoadOption::parse(bytes).ok();
    let drive = option.as_ref().and_then(LoadOption::hard_drive);
    let is_on_our_esp = facts
        .zip(drive)
        .is_some_and(|(facts, drive)| facts.esp.uuid == drive.uuid);
    let choice: Option<Choice> = option
        .as_ref()
        .filter(|_| is_on_our_esp)
        .and_then(LoadOption::starts);
    EntryJson {
        number: digits,
        order: number.and_then(|number| vars.order.iter().position(|listed| *listed == number)),
        next: number.is_some() && vars.next == number,
        current: number.is_some() && vars.current == number,
        active: option
            .as_ref()
            .is_some_and(|option| option.attributes & ACTIVE != 0),
        choice: choice.map(choice_word),
        description: option.as_ref().map_or_else(
            || "(damaged)".to_owned(),
            |option| option.description.clone(),
        ),
        file: option.as_ref().and_then(LoadOption::file),
        partuuid: drive.map(|drive| drive.uuid.to_string()),
    }
}

/// Returns the entries as a JSON object, in the order in which the firmware tries them. *Pure.*
/// Without `facts` no entry is known to be ours.
pub(crate) fn entries_json(vars: &BootVars, facts: Option<&Facts>) -> EntriesJson {
    let numbered = vars.entries.iter().map(|(number, bytes)| {
        entry_json(vars, facts, format!("{number:04X}"), Some(*number), bytes)
    });
    let misspelled = vars.misspelled.iter().map(|(name, bytes)| {
        let digits = name.strip_prefix("Boot").unwrap_or(name).to_owned();
        entry_json(vars, facts, digits, None, bytes)
    });
    let mut entries: Vec<EntryJson> = numbered.chain(misspelled).collect();
    entries.sort_by_key(|entry| entry.order.unwrap_or(usize::MAX));
    EntriesJson {
        schema: "rayos-bootctl.entries/1",
        entries,
    }
}

/// Returns the entries as text, in the order in which the firmware tries them. *Pure.* Control
/// characters are escaped, because other systems write entries, too.
pub(crate) fn entries_text(vars: &BootVars, facts: Option<&Facts>, verbose: bool) -> String {
    let entries = entries_json(vars, facts).entries;
    entries
        .iter()
        .map(|entry| entry_text(entry, verbose))
        .collect()
}

fn entry_text(entry: &EntryJson, verbose: bool) -> String {
    let marks: Vec<&str> = [
        (entry.current, "started this boot"),
        (entry.next, "BootNext"),
        (!entry.active, "inactive"),
    ]
    .into_iter()
    .filter_map(|(is_set, mark)| is_set.then_some(mark))
    .collect();
    let position = entry
        .order
        .map_or_else(|| "-".to_owned(), |order| (order + 1).to_string());
    let line = format!(
        "{position:>3}  Boot{}  {:<9} {:<24} {}",
        entry.number,
        entry.choice.unwrap_or("foreign"),
        on_one_line(&entry.description),
        marks.join(", ")
    );
    let mut text = format!("{}\n", line.trim_end());
    if verbose {
        let file = on_one_line(entry.file.as_deref().unwrap_or_default());
        let partuuid = entry.partuuid.as_deref().unwrap_or_default();
        text += &format!("       {file} {partuuid}\n");
    }
    text
}

/// Escapes control characters, line feeds and tabs as well.
fn on_one_line(text: &str) -> String {
    printable(text).replace('\n', "\\n").replace('\t', "\\t")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_of_an_entry_cannot_control_the_terminal() {
        let option = LoadOption {
            attributes: ACTIVE,
            description: "\u{1b}[2JOS\nBoot0000".to_owned(),
            device_path: vec![0x7f, 0xff, 4, 0],
            optional: Vec::new(),
        };
        let mut vars = BootVars::default();
        vars.entries.insert(1, option.encode());
        assert_eq!(
            entries_text(&vars, None, false),
            "  -  Boot0001  foreign   \\u{1b}[2JOS\\nBoot0000\n"
        );
    }
}
