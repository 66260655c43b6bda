//! What Sluice writes into the tags of the engine's pipeline: whose it is, and what its checkpoint was made from.
//!
//! It stands there because it has to outlive the object: a Pipeline that is deleted and made again, restored from a
//! backup, or moved to another cluster, finds there what a status would have remembered. The engine's gate
//! compares a program with its checkpoint, but not functions, runtime and settings; what those were is known from
//! here, or not at all (rule A9).
//!
//! Feldera takes 50 tags of 50 characters, of letters, digits, space and `._/|\:=-` (source:
//! `validate_tags` of Feldera's manager at 0.337); so what is long is cut into several. Client metadata, which tags are,
//! may change while the pipeline runs, and raises no version.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::crd::{BaseCheckpoint, Settled, Target};

/// The uid of the Pipeline that a pipeline belongs to: `sluice:<uid>`. 0.1.0 wrote only this.
const OWNER: &str = "sluice:";

/// Its namespace and name, in pieces: `sluice.owner.0:shop/orders`.
const OWNER_NAME: &str = "sluice.owner.";

/// What is settled, in pieces.
const SETTLED: &str = "sluice.settled.";

/// How many characters a tag may have.
const TAG_LENGTH: usize = 50;

/// How many tags a pipeline may have.
const MOST_TAGS: usize = 50;

/// The version of the form of [`SETTLED`].
const FORMAT: u8 = 1;

/// How many bytes of a digest say that nothing of it is missing or from elsewhere.
const CHECK: usize = 4;

/// Whose a pipeline is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The uid of the Pipeline.
    pub uid: String,
    /// Its namespace and name; absent where 0.1.0 wrote the mark.
    pub name: Option<OwnerName>,
}

/// Namespace and name of a Pipeline. Its display form is what `sluice.dev/adopt` takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerName {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl std::fmt::Display for OwnerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What is known of that which the newest checkpoint was made from.
#[derive(Clone, Debug, PartialEq)]
pub enum SettledMark {
    /// Nothing stands there.
    None,
    /// Something stands there that can't be read: another version wrote it, or somebody edited it.
    Unreadable,
    /// This.
    Known(Box<Settled>),
}

/// What the tags of a pipeline say.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// Whose it is. Several, if somebody copied tags; none if nobody's.
    pub owners: Vec<Owner>,
    /// What is settled.
    pub settled: SettledMark,
}

/// Reads the tags of the engine's pipeline with this id.
pub fn read(tags: &[String], pipeline_id: &str) -> Mark {
    let name = joined(tags, OWNER_NAME);
    let uids: Vec<&str> = uids(tags).collect();
    // Written by a version that doesn't know names, beside the names of another.
    let one = uids.len() == 1;
    let owners = uids.into_iter().map(|uid| Owner {
        uid: uid.to_owned(),
        name: name.as_deref().filter(|_| one).and_then(|text| {
            let (of, name) = text.split_once('=')?;
            let (namespace, name) = name.split_once('/')?;
            (of == check_of_uid(uid)).then(|| OwnerName {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            })
        }),
    });
    let settled = match joined(tags, SETTLED) {
        None => SettledMark::None,
        Some(text) => unfold(&text, pipeline_id).map_or(SettledMark::Unreadable, |it| {
            SettledMark::Known(Box::new(it))
        }),
    };
    Mark {
        owners: owners.collect(),
        settled,
    }
}

/// The uids of the Pipelines whose marks a pipeline carries.
pub fn uids(tags: &[String]) -> impl Iterator<Item = &str> {
    tags.iter().filter_map(|tag| tag.strip_prefix(OWNER))
}

/// The tag that says by its uid whose a pipeline is.
pub fn owner_tag(uid: &str) -> String {
    format!("{OWNER}{uid}")
}

/// The tags that say whose a pipeline is.
pub fn owner_tags(uid: &str, name: &OwnerName) -> Vec<String> {
    let mut tags = vec![owner_tag(uid)];
    tags.extend(pieces(OWNER_NAME, &format!("{}={name}", check_of_uid(uid))));
    tags
}

/// The tags that say what is settled; none if nothing is, or if it can't be said.
pub fn settled_tags(settled: Option<&Settled>, pipeline_id: &str) -> Vec<String> {
    let folded = settled.and_then(|settled| fold(settled, pipeline_id));
    folded.map_or_else(Vec::new, |text| pieces(SETTLED, &text))
}

/// The tags of a pipeline that aren't Sluice's.
pub fn foreign(tags: &[String]) -> impl Iterator<Item = &String> {
    tags.iter().filter(|tag| {
        let ours = [OWNER, OWNER_NAME, SETTLED];
        !ours.iter().any(|prefix| tag.starts_with(prefix))
    })
}

/// Those of them that say what is settled, as they stand there.
pub fn of_settled(tags: &[String]) -> impl Iterator<Item = &String> {
    tags.iter().filter(|tag| tag.starts_with(SETTLED))
}

/// Whether the engine would take as many.
pub fn fits(tags: &[String]) -> bool {
    tags.len() <= MOST_TAGS
}

/// Ties a name to the uid beside it: 0.1.0 would change the uid, and leave the name.
fn check_of_uid(uid: &str) -> String {
    URL_SAFE_NO_PAD.encode(&Sha256::digest(uid)[..CHECK])
}

fn pieces(prefix: &str, text: &str) -> Vec<String> {
    // Two digits for the number, and a colon. A name and a fold are ASCII.
    let room = TAG_LENGTH - prefix.len() - 3;
    let cut = text.as_bytes().chunks(room).enumerate();
    cut.map(|(i, piece)| format!("{prefix}{i}:{}", String::from_utf8_lossy(piece)))
        .collect()
}

fn joined(tags: &[String], prefix: &str) -> Option<String> {
    let numbered = tags.iter().filter_map(|tag| {
        let (number, piece) = tag.strip_prefix(prefix)?.split_once(':')?;
        Some((number.parse::<usize>().ok()?, piece))
    });
    let mut pieces: Vec<(usize, &str)> = numbered.collect();
    pieces.sort_unstable();
    (!pieces.is_empty()).then(|| pieces.into_iter().map(|(_, piece)| piece).collect())
}

/// What is settled, in as few characters as there can be. `None` if it doesn't name a checkpoint, or holds what has
/// another form than what Sluice writes.
fn fold(settled: &Settled, pipeline_id: &str) -> Option<String> {
    let checkpoint = settled.checkpoint.as_ref()?;
    // Taken apart whole, so that a part that is added isn't forgotten here.
    let Target {
        sql,
        udf_rust,
        udf_toml,
        config,
        runtime_version,
        settings,
        without_storage,
    } = &settled.target;
    let mut bytes = vec![FORMAT, u8::from(*without_storage)];
    bytes.extend(uuid(checkpoint.uuid.as_deref()?)?);
    for number in [checkpoint.sequence_number, settled.version] {
        bytes.extend(number.unwrap_or(-1).to_be_bytes());
    }
    for digits in [
        &settled.change_id,
        sql,
        udf_rust,
        udf_toml,
        config,
        settings,
    ] {
        bytes.extend(digest(digits)?);
    }
    bytes.extend(runtime_version.as_bytes());
    bytes.extend(check(&bytes, pipeline_id));
    let text = URL_SAFE_NO_PAD.encode(bytes);
    // So long a runtime version is none. Unsaid, it is asked about.
    (text.len() < 400).then_some(text)
}

fn unfold(text: &str, pipeline_id: &str) -> Option<Settled> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (body, said) = bytes.split_at_checked(bytes.len().checked_sub(CHECK)?)?;
    if said != check(body, pipeline_id) {
        return None;
    }
    let mut rest = body;
    let mut take = |count: usize| {
        let (taken, left) = rest.split_at_checked(count)?;
        rest = left;
        Some(taken)
    };
    let flags = take(2)?;
    if flags[0] != FORMAT {
        return None;
    }
    let checkpoint = uuid::Uuid::from_slice(take(16)?).ok()?;
    let mut number = || {
        let bytes = take(8)?.try_into().ok()?;
        Some(Some(i64::from_be_bytes(bytes)).filter(|number| *number >= 0))
    };
    let (sequence_number, version) = (number()?, number()?);
    let mut digits = || {
        let bytes = take(16)?;
        let nothing = bytes.iter().all(|byte| *byte == 0);
        Some(if nothing {
            String::new()
        } else {
            bytes.iter().map(|byte| format!("{byte:02x}")).collect()
        })
    };
    let (change_id, sql, udf_rust, udf_toml, config, settings) = (
        digits()?,
        digits()?,
        digits()?,
        digits()?,
        digits()?,
        digits()?,
    );
    Some(Settled {
        change_id,
        target: Target {
            sql,
            udf_rust,
            udf_toml,
            config,
            runtime_version: String::from_utf8(rest.to_vec()).ok()?,
            settings,
            without_storage: flags[1] == 1,
        },
        checkpoint: Some(BaseCheckpoint {
            uuid: Some(checkpoint.to_string()),
            sequence_number,
            steps: None,
        }),
        version,
        program: None,
        settings: None,
    })
}

/// A pipeline that was copied, tags and all, is another one: nothing is known of its checkpoints.
fn check(body: &[u8], pipeline_id: &str) -> Vec<u8> {
    let digest = Sha256::new()
        .chain_update(pipeline_id)
        .chain_update(body)
        .finalize();
    digest[..CHECK].to_vec()
}

fn uuid(text: &str) -> Option<[u8; 16]> {
    let uuid = uuid::Uuid::parse_str(text).ok()?;
    // Only what comes back to the letter.
    (uuid.to_string() == text).then(|| uuid.into_bytes())
}

/// 32 hex digits, or none.
fn digest(digits: &str) -> Option<[u8; 16]> {
    if digits.is_empty() {
        return Some([0; 16]);
    }
    let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if digits.len() != 32 || !digits.bytes().all(lower) {
        return None;
    }
    Some(u128::from_str_radix(digits, 16).ok()?.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PIPELINE: &str = "0198c0de-0000-7000-8000-000000000001";

    fn settled() -> Settled {
        let digits = |digit: &str| digit.repeat(32);
        Settled {
            change_id: digits("a"),
            target: Target {
                sql: digits("1"),
                udf_rust: digits("2"),
                udf_toml: digits("3"),
                config: digits("4"),
                runtime_version: "v0.337.0".into(),
                settings: String::new(),
                without_storage: false,
            },
            checkpoint: Some(BaseCheckpoint {
                uuid: Some("0198c0de-0000-7000-8000-0000000000ff".into()),
                sequence_number: Some(7),
                steps: None,
            }),
            version: Some(3),
            program: None,
            settings: None,
        }
    }

    fn is_taken_by_the_engine(tag: &str) -> bool {
        let allowed = |c: char| c.is_ascii_alphanumeric() || " ._/|\\:=-".contains(c);
        !tag.is_empty() && tag.len() <= TAG_LENGTH && tag.chars().all(allowed)
    }

    fn shop_orders() -> OwnerName {
        OwnerName {
            namespace: "shop".into(),
            name: "orders".into(),
        }
    }

    #[test]
    fn a19_a_mark_says_whose_a_pipeline_is() {
        let mut tags = owner_tags("uid-1", &shop_orders());
        tags.push("team:billing".into());
        let mark = read(&tags, PIPELINE);
        assert_eq!(
            mark.owners,
            [Owner {
                uid: "uid-1".into(),
                name: Some(shop_orders()),
            }]
        );
        assert_eq!(mark.settled, SettledMark::None);
        assert_eq!(foreign(&tags).collect::<Vec<_>>(), ["team:billing"]);
    }

    #[test]
    fn a19_a_name_goes_with_the_uid_that_it_was_written_with() {
        let mut tags = owner_tags("uid-1", &shop_orders());
        // As 0.1.0 takes a pipeline over.
        tags[0] = owner_tag("uid-2");
        let mark = read(&tags, PIPELINE);
        assert_eq!(mark.owners[0].name, None);
        assert_eq!(read(&[owner_tag("uid-1")], PIPELINE).owners[0].name, None);
    }

    #[test]
    fn a9_what_is_settled_is_known_of_this_pipeline_only_and_only_if_it_is_whole() {
        let tags = settled_tags(Some(&settled()), PIPELINE);
        assert_eq!(
            read(&tags, PIPELINE).settled,
            SettledMark::Known(Box::new(settled()))
        );
        assert_eq!(read(&tags, "another").settled, SettledMark::Unreadable);
        let mut fewer = tags.clone();
        fewer.pop();
        assert_eq!(read(&fewer, PIPELINE).settled, SettledMark::Unreadable);
        let mut edited = tags;
        edited[0] = edited[0].replace(':', ":A");
        assert_eq!(read(&edited, PIPELINE).settled, SettledMark::Unreadable);
        let none = Settled {
            checkpoint: None,
            ..settled()
        };
        assert_eq!(settled_tags(Some(&none), PIPELINE), Vec::<String>::new());
    }

    proptest! {
        #[test]
        fn a9_every_mark_is_taken_by_the_engine_and_comes_back_as_it_was(
            namespace in "[a-z]([a-z0-9-]{0,61}[a-z0-9])?",
            name in "[a-z]([a-z0-9.-]{0,250}[a-z0-9])?",
            change_id in "[0-9a-f]{32}", sql in "[0-9a-f]{32}", settings in "([1-9a-f]{32})?",
            runtime in "\\PC{0,40}", version in proptest::option::of(0i64..),
            without_storage: bool,
        ) {
            let uid = "7c9e6679-7425-40de-944b-e07fc1f90ae7";
            let owner = OwnerName { namespace, name };
            let it = Settled {
                change_id,
                target: Target { sql, settings, runtime_version: runtime, without_storage, ..settled().target },
                version,
                ..settled()
            };
            let mut tags = owner_tags(uid, &owner);
            tags.extend(settled_tags(Some(&it), PIPELINE));
            prop_assert!(fits(&tags));
            for tag in &tags {
                prop_assert!(is_taken_by_the_engine(tag), "{tag}");
            }
            tags.reverse();
            let mark = read(&tags, PIPELINE);
            prop_assert_eq!(mark.owners, vec![Owner { uid: uid.into(), name: Some(owner) }]);
            prop_assert_eq!(mark.settled, SettledMark::Known(Box::new(it)));
        }

        #[test]
        fn no_tag_makes_the_reader_panic(tags in proptest::collection::vec("(sluice(:|\\.owner\\.|\\.settled\\.)[0-9]?:?)?.{0,50}", 0..8)) {
            let _ = read(&tags, PIPELINE);
        }
    }
}
