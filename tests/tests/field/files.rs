//! Files that people and tools hand over: names, texts and outputs.

use bootctl::device::MemDevice;
use bundle::keys::SecretKey;
use cli::input::refuse_input_as_output;
use cli::new_file::NewFile;
use installer::install::answers::{Answers, AnswersError};
use installer::media::{MEDIA_DIR, MediaContent, images, stick_len, write_stick};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use tests::memory_machine::{FIRST, key, trust};

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_is_named_after_its_version_fits_on_a_stick() {
    let folder = tempfile::tempdir().expect("folder");
    let bundle = FIRST.bundle();
    for name in [
        "rayos-1.2.0+7.bundle",
        "rayos-1.2.0~rc1.bundle",
        "rayos 1.2.0.bundle",
    ] {
        let path = folder.path().join(name);
        fs::write(&path, &bundle).expect("bundle");
        let images = images(&path, &trust()).await.expect("images");
        let content = MediaContent {
            guard: &images.guard,
            recovery: &images.recovery,
            answers: None,
            bundle: &path,
        };
        let esp_len = content.esp_len().expect("length");
        let stick = MemDevice::new(stick_len(esp_len) as usize, 512);
        write_stick(&stick, &content, content.id(images.release)).expect("stick");
        let bytes = stick.bytes();
        let esp = MemDevice::from_bytes(bytes[1 << 20..][..esp_len as usize].to_vec(), 512);
        let path = format!("{MEDIA_DIR}/{name}");
        let found = installer::esp::read(&esp, &path, bundle.len()).expect("file");
        assert!(found == bundle, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sticks_of_one_release_with_other_answers_have_other_ids() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("a.bundle");
    fs::write(&path, FIRST.bundle()).expect("bundle");
    let images = images(&path, &trust()).await.expect("images");
    let id = |answers: &[u8]| {
        let content = MediaContent {
            guard: &images.guard,
            recovery: &images.recovery,
            answers: Some(answers),
            bundle: &path,
        };
        content.id(images.release)
    };
    assert_eq!(id(b"version = 1"), id(b"version = 1"));
    assert_ne!(id(b"version = 1"), id(b"version = 1\nerase = \"S1\""));
}

#[test]
fn answers_by_a_windows_editor_are_read_or_their_encoding_is_named() {
    let text = "version = 1\r\nunattended = true\r\n";
    let marked = ["\u{feff}", text].concat();
    assert!(
        Answers::decode(marked.as_bytes())
            .expect("answers")
            .unattended
    );
    let little: Vec<u8> = marked.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = marked.encode_utf16().flat_map(u16::to_be_bytes).collect();
    for utf16 in [little, big] {
        let error = Answers::decode(&utf16).expect_err("UTF-16");
        assert!(matches!(error, AnswersError::Text(_)));
        assert!(error.to_string().contains("UTF-16"), "{error}");
    }
}

#[test]
fn whitespace_around_a_key_is_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("key");
    let key = key(1);
    let secret = key.to_pem(None).expect("PEM");
    let public = key.public_pem().expect("PEM");
    let changes: [fn(&str) -> String; 6] = [
        |pem| format!("{pem}\n"),
        |pem| format!("\n{pem}"),
        |pem| format!("\u{feff}{pem}"),
        |pem| pem.trim_end().to_owned(),
        |pem| pem.replace('\n', " \n"),
        |pem| pem.replace('\n', "\r\n"),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        fs::write(&path, change(&secret)).expect("file");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("mode");
        let loaded = SecretKey::load(&path, &|_| unreachable!("the key is not encrypted"));
        let loaded = loaded.unwrap_or_else(|error| panic!("{number}: {error}"));
        assert_eq!(loaded.public_key(), key.public_key(), "{number}");
        fs::write(&path, change(&public)).expect("file");
        bundle::trust::load(&path).unwrap_or_else(|error| panic!("{number}: {error}"));
    }
}

#[test]
fn an_output_that_is_an_input_is_refused_whatever_it_is_called() {
    let folder = tempfile::tempdir().expect("folder");
    let [input, hard, soft, other] =
        ["input", "hard", "soft", "other"].map(|name| folder.path().join(name));
    fs::write(&input, "precious").expect("file");
    fs::write(&other, "").expect("file");
    fs::hard_link(&input, &hard).expect("link");
    std::os::unix::fs::symlink(&input, &soft).expect("link");
    let refuse = |output: &Path| refuse_input_as_output(output, [input.as_path()]);
    for output in [&input, &hard, &soft] {
        refuse(output).expect_err("the same file");
    }
    refuse(&other).expect("another file");
    refuse(&folder.path().join("new")).expect("no file yet");
}

#[test]
fn part_files_of_the_dead_block_nothing_and_the_living_leave_none() {
    let folder = tempfile::tempdir().expect("folder");
    let output = folder.path().join("o.bundle");
    for left in ["o.bundle.1.part", ".rayos-0000000000000000.part"] {
        fs::write(folder.path().join(left), "").expect("file");
    }
    let count = || fs::read_dir(folder.path()).expect("folder").count();
    let before = count();
    drop(NewFile::create(&output).expect("created"));
    assert_eq!(count(), before, "an abandoned output leaves no file");
    let new = NewFile::create(&output).expect("created");
    new.publish().expect("published");
    assert_eq!(count(), before + 1);
}

#[test]
fn a_device_as_the_output_is_named_with_the_way_out() {
    let error = NewFile::create(Path::new("/dev/null")).expect_err("a device");
    assert_eq!(
        error.to_string(),
        "not a regular file: write to a file, then copy it there (dd)"
    );
}
