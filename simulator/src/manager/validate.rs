//! What the engine checks in the fields of a pipeline.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::ApiError;

const NAME_LENGTH: usize = 63;
const DESCRIPTION_LENGTH: usize = 300;
const TAG_LENGTH: usize = 50;
const TAGS: usize = 50;

/// Checks a program configuration and fills in defaults.
///
/// # Errors
/// `InvalidProgramConfig`.
pub fn program_config(value: &Value) -> Result<Value, ApiError> {
    #[derive(Deserialize)]
    struct ProgramConfig {
        #[serde(default)]
        profile: Option<Profile>,
        #[serde(default)]
        cache: Option<bool>,
        #[serde(default)]
        runtime_version: Option<String>,
        #[serde(default)]
        use_platform_compiler: Option<bool>,
    }
    #[derive(Deserialize, serde::Serialize)]
    #[serde(rename_all = "snake_case")]
    enum Profile {
        Dev,
        Unoptimized,
        Optimized,
        OptimizedSymbols,
    }
    let invalid = |error: String| {
        ApiError::bad_request(
            "InvalidProgramConfig",
            format!(
                "JSON for 'program_config' field:\n{value:#}\n\n... is not valid due to: {error}"
            ),
        )
        .with_details(json!({"value": value, "error": error}))
    };
    let config: ProgramConfig = serde_json::from_value(value.clone())
        .map_err(|e| invalid(format!("could not deserialize due to: {e}")))?;
    if let Some(version) = &config.runtime_version
        && !is_runtime_version(version)
    {
        return Err(invalid(format!(
            "could not deserialize due to: runtime_version '{version}' is neither a version tag \
             (vX.Y.Z) nor a Git commit (40 hexadecimal digits)"
        )));
    }
    Ok(json!({
        "profile": config.profile,
        "cache": config.cache.unwrap_or(true),
        "runtime_version": config.runtime_version,
        "use_platform_compiler": config.use_platform_compiler.unwrap_or(false),
    }))
}

fn is_runtime_version(text: &str) -> bool {
    let commit = text.len() == 40
        && text
            .chars()
            .all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c));
    let tag = text.strip_prefix('v').is_some_and(|rest| {
        let parts: Vec<&str> = rest.split('.').collect();
        parts.len() == 3
            && parts
                .iter()
                .all(|p| !p.is_empty() && p.chars().all(|c| c.is_ascii_digit()))
    });
    commit || tag
}

/// Checks a pipeline's name.
///
/// # Errors
/// The rule that it breaks.
pub fn check_name(name: &str) -> Result<(), ApiError> {
    if name.is_empty() {
        return Err(ApiError::bad_request(
            "EmptyName",
            "Name cannot be be empty",
        ));
    }
    if name.len() > NAME_LENGTH {
        return Err(ApiError::bad_request(
            "TooLongName",
            format!(
                "Name '{name}' is longer ({}) than maximum allowed ({NAME_LENGTH})",
                name.len()
            ),
        )
        .with_details(json!({"name": name, "length": name.len(), "maximum": NAME_LENGTH})));
    }
    let inside = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if !inside || name.starts_with(['-', '_']) || name.ends_with(['-', '_']) {
        let description = "be non-empty and only contain lowercase (a-z), uppercase (A-Z), \
                           number (0-9), underscore (_) or hyphen (-) characters, but cannot \
                           start or end with hyphen or underscore";
        let pattern = "^([A-Za-z0-9][-A-Za-z0-9_]*)?[A-Za-z0-9]$";
        return Err(ApiError::bad_request(
            "NameDoesNotMatchPattern",
            format!("Name '{name}' should {description} (pattern: '{pattern}')"),
        )
        .with_details(json!({
            "name": name, "pattern": pattern, "pattern_description": description,
        })));
    }
    Ok(())
}

/// Checks a description.
///
/// # Errors
/// `TooLongDescription`.
pub fn check_description(description: Option<&str>) -> Result<(), ApiError> {
    let length = description.map_or(0, |d| d.chars().count());
    if length > DESCRIPTION_LENGTH {
        return Err(ApiError::bad_request(
            "TooLongDescription",
            format!("Description is longer ({length}) than maximum allowed ({DESCRIPTION_LENGTH})"),
        )
        .with_details(json!({"length": length, "maximum": DESCRIPTION_LENGTH})));
    }
    Ok(())
}

/// Checks tags.
///
/// # Errors
/// The rule that they break.
pub fn check_tags(tags: Option<&[String]>) -> Result<(), ApiError> {
    let tags = tags.unwrap_or_default();
    if tags.len() > TAGS {
        return Err(ApiError::bad_request(
            "TooManyTags",
            format!(
                "Pipeline has more tags ({}) than the maximum allowed ({TAGS})",
                tags.len()
            ),
        )
        .with_details(json!({"count": tags.len(), "maximum": TAGS})));
    }
    for tag in tags {
        let length = tag.chars().count();
        let allowed = |c: char| c.is_ascii_alphanumeric() || " ._/|\\:=-".contains(c);
        let reason = if tag.is_empty() {
            "it cannot be empty".to_owned()
        } else if length > TAG_LENGTH {
            format!("it is {length} characters long, but the maximum is {TAG_LENGTH}")
        } else if !tag.chars().all(allowed) {
            "it may contain only ASCII letters (a-z, A-Z), numbers (0-9), or one of space, '.', \
             '_', '/', '|', '\\', ':', '=' and '-'"
                .to_owned()
        } else {
            continue;
        };
        return Err(ApiError::bad_request(
            "InvalidTag",
            format!("Tag '{tag}' is invalid: {reason}"),
        )
        .with_details(json!({"tag": tag, "reason": reason})));
    }
    Ok(())
}
