//! The example in docs/format.md equals what this program writes. `REGENERATE=1` updates it.

mod sample;

use bundle::keys::SecretKey;
use bundle::recipe::Recipe;
use seal::{Purpose, Role, Trust, TrustedKey};
use std::fmt::Write as _;
use std::path::Path;

/// RFC 8032, section 7.1, test 1.
const SECRET: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
const PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

const RECIPE: &str = r#"
[release]
version = "1.0.0"
rollback_index = 1
compatible = ["rayos-x86_64"]

[[image]]
role = "root"
path = "root.img"
chunk_size = 4096
"#;

fn unhex(text: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap();
    }
    bytes
}

fn example() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("root.img"), "hello world\n").unwrap();
    let recipe = Recipe::parse(RECIPE, &folder.path().join("bundle.toml"), None).unwrap();
    sample::create(&recipe, &[SecretKey::from_seed(&unhex(SECRET))], 1)
}

fn dump(bytes: &[u8]) -> String {
    let mut text = String::from("```\n");
    for (line, chunk) in bytes.chunks(16).enumerate() {
        if chunk.iter().all(|byte| *byte == 0) {
            continue;
        }
        let hex: Vec<String> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
        let shown: String = chunk
            .iter()
            .map(|byte| {
                if (32..127).contains(byte) {
                    char::from(*byte)
                } else {
                    '.'
                }
            })
            .collect();
        writeln!(text, "{:04x}  {:<47}  {shown}", line * 16, hex.join(" ")).unwrap();
    }
    text + "```\n"
}

#[test]
fn the_example_in_the_documentation_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/format.md");
    let document = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = document.split_once("<!-- example -->\n").unwrap();
    let (found, after) = rest.split_once("<!-- end -->").unwrap();
    let expected = dump(&example());
    if std::env::var_os("REGENERATE").is_some() {
        std::fs::write(
            &path,
            format!("{before}<!-- example -->\n{expected}<!-- end -->{after}"),
        )
        .unwrap();
    } else {
        assert_eq!(found, expected);
    }
}

#[test]
fn the_example_is_accepted_with_its_public_key() {
    assert_eq!(
        SecretKey::from_seed(&unhex(SECRET)).public_key(),
        unhex(PUBLIC)
    );
    let key = TrustedKey::new(&unhex(PUBLIC), &[Role::Release]).unwrap();
    let trust = Trust::new(0, [1, 0, 0], &[key]).unwrap();
    sample::check(&example(), &trust).unwrap();
    let mut parser = bundle::HeadParser::new(&trust, Purpose::Release);
    parser.feed(&example()).unwrap();
    let release = parser.release().unwrap();
    assert_eq!(release.hints_range().end, example().len() as u64);
}
