//! The engine's errors of a pipeline, told apart. `InitializationError` stands for many things, and
//! only its message tells which.
//!
//! Source: answers of a pipeline process of 0.337, and the texts in its sources.

/// What the engine writes before the message that counts.
pub(crate) const PREFACE: &str =
    "Operation failed because the pipeline failed to initialize. Error details: ";

/// Parts of messages, what they mean, and what to do.
pub(crate) const KNOWN: [(&str, &str); 7] = [
    (
        "relations with lateness",
        "a changed program with LATENESS can't be bootstrapped. Put the old program back, or start from nothing with spec.clearStorage",
    ),
    (
        "not materialized",
        "a table that the new views read isn't materialized, so there is nothing to fill them from. Make it materialized in a change of its own first, or start from nothing with spec.clearStorage",
    ),
    (
        "cannot be bootstrapped concurrently",
        "this change can't be bootstrapped concurrently. Set spec.bootstrapOptions.concurrent: false",
    ),
    (
        "was rejected by the user",
        "it was started with bootstrap policy reject, and the engine refused the change",
    ),
    (
        "invalid controller configuration",
        "a connector is configured wrongly. Correct the connector that the message names",
    ),
    (
        "Invalid initial status",
        "the engine can't start the same deployment again after a graceful stop",
    ),
    (
        "mutually exclusive",
        "silent and concurrent exclude each other. Set one of spec.bootstrapOptions to false",
    ),
];

/// Whether starting the same thing again can't help.
pub(crate) fn is_permanent(code: &str, message: &str) -> bool {
    code == "InitializationError" || message.contains("failed to initialize")
}

/// The error in words: what it means, where that is known, and what the engine says.
pub(crate) fn explain(code: &str, message: &str) -> String {
    let said = message.strip_prefix(PREFACE).unwrap_or(message).trim();
    let known = KNOWN.iter().find(|(part, _)| said.contains(part));
    match known {
        Some((_, meaning)) => format!("{meaning} (the engine: {said})"),
        None if is_permanent(code, message) => {
            format!("the pipeline can't be initialized: {said}")
        }
        None => said.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_initialization_are_told_apart() {
        let initialization =
            |details: &str| explain("InitializationError", &format!("{PREFACE}{details}"));
        for (details, expected) in [
            (
                "The pipeline has been modified since the last checkpoint; however it cannot be bootstrapped due to the following reasons:\n- The new version of the program has relations with lateness: t2\n.",
                "LATENESS",
            ),
            (
                "…:\n- The following tables are not materialized, but some of the views that depend on these tables require bootstrapping: 't3'.",
                "isn't materialized",
            ),
            (
                "…:\nthe pipeline cannot be bootstrapped concurrently: a stream feeding the bootstrapped region has no replay source",
                "concurrent: false",
            ),
            (
                "Bootstrapping of the modified pipeline was rejected by the user..",
                "policy reject",
            ),
            (
                "invalid controller configuration: Output endpoint 'nov.bad' specifies unknown output table or view 'nosuchview'.",
                "connector",
            ),
        ] {
            let words = initialization(details);
            assert!(words.contains(expected), "{words}");
            assert!(
                words.contains(details.trim()),
                "the engine's own words stay: {words}"
            );
        }
        let other = initialization("cannot open file /x");
        assert_eq!(
            other,
            "the pipeline can't be initialized: cannot open file /x"
        );
        assert_eq!(explain("Panic", "out of luck"), "out of luck");
    }
}
