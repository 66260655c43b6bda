//! What the API server's audit log says of the operator.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;

use serde_json::Value;

use crate::Error;
use crate::stage::OPERATOR;

/// How many bytes the log has by now.
pub fn position(log: &Path) -> Result<u64, Error> {
    let metadata = std::fs::metadata(log).map_err(Error::io("read the audit log"))?;
    Ok(metadata.len())
}

/// The operator's calls since then, such as `patch pipelines/status` → 3. A watch counts when it ends.
pub fn calls(log: &Path, since: u64) -> Result<BTreeMap<String, u64>, Error> {
    let mut file = File::open(log).map_err(Error::io("open the audit log"))?;
    file.seek(SeekFrom::Start(since))
        .map_err(Error::io("read the audit log"))?;
    let mut calls = BTreeMap::new();
    for line in BufReader::new(file).lines() {
        let line = line.map_err(Error::io("read the audit log"))?;
        // Most lines are others'; the last one may not be written to its end.
        if !line.contains(OPERATOR) {
            continue;
        }
        let Ok(event) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        if event["user"]["username"] != OPERATOR || event["stage"] != "ResponseComplete" {
            continue;
        }
        let word = |field: &Value| field.as_str().unwrap_or_default().to_owned();
        let object = &event["objectRef"];
        let mut what = format!("{} {}", word(&event["verb"]), word(&object["resource"]));
        if let Some(part) = object["subresource"].as_str() {
            what = format!("{what}/{part}");
        }
        *calls.entry(what).or_default() += 1;
    }
    Ok(calls)
}

/// How many of these calls write something.
pub fn writes(calls: &BTreeMap<String, u64>) -> u64 {
    let writes = calls.iter().filter(|(what, _)| {
        !["get ", "list ", "watch "]
            .iter()
            .any(|verb| what.starts_with(verb))
    });
    writes.map(|(_, number)| number).sum()
}
