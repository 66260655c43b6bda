//! How something is printed: for people or for programs, coloured or not.

use std::io::{self, Write};
use std::sync::OnceLock;

use serde_json::Value;

use crate::arguments::Output;
use crate::error::Error;
use sluice_gate::printable::{is_printable, printable_json};

/// Added lines, removed ones, headings, and what needs attention.
pub mod style {
    use anstyle::{AnsiColor, Style};

    pub const ADDED: Style = AnsiColor::Green.on_default();
    pub const REMOVED: Style = AnsiColor::Red.on_default();
    pub const PLACE: Style = AnsiColor::Cyan.on_default();
    pub const HEADING: Style = Style::new().bold();
    pub const WARNING: Style = AnsiColor::Yellow.on_default();
}

/// A line in a style. What isn't a terminal, and who set NO_COLOR, gets it without.
pub fn styled(style: anstyle::Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// Why standard output didn't take what was printed, the first time.
static FAILED: OnceLock<String> = OnceLock::new();

/// Prints on standard output. Nothing stops half-way because that doesn't work: votes go on, and [`outcome`] says so at the
/// end. Everything that the plugin prints goes through here or through [`tell`], since `println!` panics.
pub fn print(text: &str) {
    if let Err(why) = put(&mut anstream::stdout().lock(), text) {
        FAILED.get_or_init(|| why);
    }
}

/// Says something beside the output, on standard error. If that is closed, there is nobody to tell.
pub fn tell(text: &str) {
    let _ = put(&mut anstream::stderr().lock(), text);
}

/// Whether all was printed that somebody wanted to read.
pub fn outcome() -> Result<(), Error> {
    FAILED
        .get()
        .map_or(Ok(()), |why| Err(Error::Terminal(why.clone())))
}

/// Writes it all. That whoever reads has enough, as `head` has after some lines, is no error.
fn put(out: &mut impl Write, text: &str) -> Result<(), String> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.to_string()),
        _ => Ok(()),
    }
}

/// A value for programs.
pub fn structured(value: &Value, output: Output) -> String {
    let json = || printable_json(&format!("{value:#}\n"));
    match output {
        Output::Text | Output::Json => json(),
        Output::Yaml => match sluice_gate::yaml::to_string(value) {
            // What would have to be escaped is shown as JSON, which is YAML too.
            Ok(yaml) if is_printable(&yaml) => format!("{}\n", yaml.trim_end()),
            _ => json(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Takes nothing.
    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    #[test]
    fn that_nobody_reads_on_is_no_error_and_that_the_disk_is_full_is_one() {
        assert_eq!(put(&mut Broken(io::ErrorKind::BrokenPipe), "text"), Ok(()));
        let full = put(&mut Broken(io::ErrorKind::StorageFull), "text");
        assert!(full.is_err());
    }

    #[test]
    fn yaml_and_json_say_the_same_and_cannot_steer_the_terminal() {
        for value in [
            json!({"name": "orders", "sql": "a\n  b\n", "odd": ["yes", "1", null, "x: y"]}),
            json!({"name": "x\u{1b}[2J\u{202e}"}),
            json!({"revision": 3, "share": 0.5}),
        ] {
            for output in [Output::Json, Output::Yaml] {
                let text = structured(&value, output);
                assert!(is_printable(&text), "{text:?}");
                let back: Value = serde_saphyr::from_str(&text).unwrap();
                assert_eq!(back, value, "{text}");
            }
        }
    }
}
