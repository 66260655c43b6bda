//! Objects as others wrote them: each is read by itself, so that one that can't be read hides no other.
//!
//! The API server takes what a definition's schema lets through, and a type of ours may take less: text may be nested
//! deeper than a reader goes, and a time may lie where no type has room for it. A list that is read as one text fails as a whole then, and a
//! watch with it. So here an element of a list or of a watch is cut out first, which looks at brackets only, and what
//! doesn't fit is still known by its metadata: it can be told of, and let go.
//!
//! No list and no watch goes another way: see `clippy.toml`.

#![deny(clippy::disallowed_methods)]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Debug;

use futures::Stream;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{ListParams, ObjectList};
use kube::runtime::watcher;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use sluice_gate::engine::elements::{self, DEEPEST};
use sluice_gate::text;

/// An object, or what is known of one that doesn't fit its type.
#[derive(Clone, Debug)]
pub struct Guarded<K>(pub Result<K, Box<Unfit>>);

/// An object that doesn't fit its type.
#[derive(Clone, Debug, thiserror::Error)]
#[error("it doesn't fit its type: {why}")]
pub struct Unfit {
    /// Why not; in part in the words of whoever wrote it.
    pub why: String,
    /// What could be read of its metadata, without `managedFields`.
    pub metadata: ObjectMeta,
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Self(read(text.get())))
    }
}

fn read<K: DeserializeOwned>(text: &str) -> Result<K, Box<Unfit>> {
    parse(text)
        .or_else(|why| without_managed_fields(text).map_or(Err(why), |text| parse(&text)))
        .map_err(|why| {
            Box::new(Unfit {
                why: text::foreign_line(&why, text::REASON),
                metadata: metadata(text),
            })
        })
}

fn parse<K: DeserializeOwned>(text: &str) -> Result<K, String> {
    if elements::depth(text.as_bytes()) > DEEPEST {
        return Err(format!("it is nested more than {DEEPEST} levels deep"));
    }
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// The object without what nobody here reads, and whoever may edit any of its metadata may write: that takes no
/// rejection out of sight, and no Pipeline. `None` if it has none of it.
fn without_managed_fields(text: &str) -> Option<String> {
    type Parts = BTreeMap<String, Box<RawValue>>;
    let mut object: Parts = serde_json::from_str(text).ok()?;
    let metadata = object.get_mut("metadata")?;
    let mut parts: Parts = serde_json::from_str(metadata.get()).ok()?;
    parts.remove("managedFields")?;
    *metadata = serde_json::value::to_raw_value(&parts).ok()?;
    serde_json::to_string(&object).ok()
}

/// What names an object and tells whether it is on its way out; each part by itself.
fn metadata(text: &str) -> ObjectMeta {
    #[derive(Deserialize, Default)]
    struct Outline {
        #[serde(default)]
        metadata: BTreeMap<String, Box<RawValue>>,
    }
    let outline: Outline = serde_json::from_str(text).unwrap_or_default();
    let part = |name: &str| outline.metadata.get(name).map(|part| part.get());
    fn read<T: DeserializeOwned>(part: Option<&str>) -> Option<T> {
        serde_json::from_str(part?).ok()
    }
    ObjectMeta {
        name: read(part("name")),
        namespace: read(part("namespace")),
        uid: read(part("uid")),
        resource_version: read(part("resourceVersion")),
        generation: read(part("generation")),
        creation_timestamp: read(part("creationTimestamp")),
        // It leaves, whenever it was told to.
        deletion_timestamp: part("deletionTimestamp")
            .filter(|part| *part != "null")
            .map(|part| {
                let at: Option<Time> = read(Some(part));
                at.unwrap_or(Time(Timestamp::UNIX_EPOCH))
            }),
        finalizers: read(part("finalizers")),
        labels: read(part("labels")),
        annotations: read(part("annotations")),
        owner_references: read(part("ownerReferences")),
        ..ObjectMeta::default()
    }
}

impl<K: Resource> Resource for Guarded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(of: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(of)
    }

    fn group(of: &Self::DynamicType) -> Cow<'_, str> {
        K::group(of)
    }

    fn version(of: &Self::DynamicType) -> Cow<'_, str> {
        K::version(of)
    }

    fn plural(of: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(of)
    }

    fn meta(&self) -> &ObjectMeta {
        match &self.0 {
            Ok(object) => object.meta(),
            Err(unfit) => &unfit.metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match &mut self.0 {
            Ok(object) => object.meta_mut(),
            Err(unfit) => &mut unfit.metadata,
        }
    }
}

/// A list, or a page of one.
///
/// # Errors
/// When the API server refuses, or can't be reached.
#[allow(clippy::disallowed_methods)]
pub async fn list<K>(
    api: &Api<Guarded<K>>,
    params: &ListParams,
) -> kube::Result<ObjectList<Guarded<K>>>
where
    K: Clone + DeserializeOwned + Debug,
{
    api.list(params).await
}

/// What `keep` makes of the objects whose field has this value, where the API server can select by it; and of all objects
/// where it can't, as with a custom resource on Kubernetes 1.30. So `keep` has to look, too.
///
/// # Errors
/// When the API server refuses, or can't be reached.
pub async fn list_where<K, T>(
    api: &Api<Guarded<K>>,
    field: &str,
    value: &str,
    page: u32,
    keep: impl Fn(Guarded<K>) -> Option<T>,
) -> kube::Result<Vec<T>>
where
    K: Clone + DeserializeOwned + Debug,
{
    let mut params = ListParams::default().limit(page);
    params.field_selector = Some(format!("{field}={value}"));
    let mut kept = vec![];
    loop {
        let found = match list(api, &params).await {
            Err(kube::Error::Api(status))
                if status.code == 400 && params.field_selector.is_some() =>
            {
                params.field_selector = None;
                continue;
            }
            other => other?,
        };
        kept.extend(found.items.into_iter().filter_map(&keep));
        // All pages are of the state of the first one.
        match found.metadata.continue_.filter(|next| !next.is_empty()) {
            Some(next) => params = params.continue_token(&next),
            None => return Ok(kept),
        }
    }
}

/// How many objects come at a time when all are listed before a watch, at a start above all. Each may have more than a
/// MiB, and what has come is there twice, as text and as objects, before anything of it can be dropped.
const PAGE: u32 = 20;

/// Lists and watches, in pages that fit into memory however large the objects are.
pub fn watch<K>(
    api: Api<Guarded<K>>,
) -> impl Stream<Item = watcher::Result<watcher::Event<Guarded<K>>>> + Send + 'static
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    watch_by(api, PAGE)
}

/// The same, with so many objects a page: more of those that are small, and of which there may be many.
#[allow(clippy::disallowed_methods)]
pub fn watch_by<K>(
    api: Api<Guarded<K>>,
    page: u32,
) -> impl Stream<Item = watcher::Result<watcher::Event<Guarded<K>>>> + Send + 'static
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    watcher(api, watcher::Config::default().page_size(page))
}

/// Watches the object of this name; `None` while there is none.
#[allow(clippy::disallowed_methods)]
pub fn watch_object<K>(
    api: Api<Guarded<K>>,
    name: &str,
) -> impl Stream<Item = watcher::Result<Option<Guarded<K>>>> + Send + use<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    watcher::watch_object(api, name)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::ResourceExt;
    use kube::core::PartialObjectMeta;
    use kube::core::WatchEvent;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use sluice_gate::crd::{Pipeline, PipelineApproval, VoteDecision};

    /// A Pipeline as text: no value in between could hold some of these.
    fn pipeline(name: &str, metadata: &str, spec: &str) -> String {
        let api_version = "sluice.dev/v1alpha1";
        format!(
            r#"{{"apiVersion":"{api_version}","kind":"Pipeline","metadata":{{"name":"{name}",
            "namespace":"shop","uid":"u","resourceVersion":"7","finalizers":["sluice.dev/cleanup"]{metadata}}},"spec":{spec}}}"#
        )
    }

    fn nested(levels: usize, open: &str, close: &str) -> String {
        format!("{}{}", open.repeat(levels), close.repeat(levels))
    }

    /// What the API server would take, and a type of ours doesn't: the more of `metadata`, and the spec.
    fn bad() -> Vec<(String, String)> {
        let config = |value: String| format!(r#"{{"runtimeConfig":{{"x":{value}}}}}"#);
        let objects = nested(150, r#"{"x":"#, "}").replace(":}", ":{}}");
        vec![
            (String::new(), config(nested(150, "[", "]"))),
            (String::new(), config(objects)),
            // A reader of JSON would go just so deep.
            (String::new(), config(nested(DEEPEST, "[", "]"))),
            (String::new(), config(nested(60_000, "[", "]"))),
            (String::new(), r#"{"desiredState":"odd"}"#.into()),
            (String::new(), r#""nothing""#.into()),
            (
                r#","deletionTimestamp":"9999-12-31T23:59:59Z""#.into(),
                "{}".into(),
            ),
        ]
    }

    #[test]
    fn a_list_with_what_fits_no_type_has_all_others_and_tells_which_that_is() {
        for (metadata, spec) in bad() {
            let bad = pipeline("bad", &metadata, &spec);
            let good = pipeline("good", "", "{}");
            let text = format!(
                r#"{{"apiVersion":"v1","kind":"PipelineList","metadata":{{"resourceVersion":"1"}},"items":[{bad},{good}]}}"#
            );
            let list: ObjectList<Guarded<Pipeline>> = serde_json::from_str(&text).unwrap();
            let [bad, good] = list.items.try_into().unwrap();
            assert!(bad.0.is_err(), "{metadata} {spec}");
            assert_eq!(bad.name_any(), "bad");
            assert_eq!(bad.namespace().as_deref(), Some("shop"));
            assert_eq!(bad.resource_version().as_deref(), Some("7"));
            assert_eq!(bad.uid().as_deref(), Some("u"));
            assert_eq!(bad.finalizers(), ["sluice.dev/cleanup"]);
            assert_eq!(
                bad.meta().deletion_timestamp.is_some(),
                metadata.contains("deletionTimestamp")
            );
            assert_eq!(good.0.unwrap().name_any(), "good");
        }
    }

    #[test]
    fn a_watch_goes_on_after_what_fits_no_type() {
        for (metadata, spec) in bad() {
            let bad = pipeline("bad", &metadata, &spec).replace('\n', "");
            for kind in ["ADDED", "MODIFIED", "DELETED"] {
                let line = format!(r#"{{"type":"{kind}","object":{bad}}}"#);
                let event: WatchEvent<Guarded<Pipeline>> = serde_json::from_str(&line).unwrap();
                let (WatchEvent::Added(object)
                | WatchEvent::Modified(object)
                | WatchEvent::Deleted(object)) = event
                else {
                    panic!("{event:?}");
                };
                assert!(object.0.is_err());
                assert_eq!(object.name_any(), "bad");
            }
        }
        let error = r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}"#;
        let event: WatchEvent<Guarded<Pipeline>> = serde_json::from_str(error).unwrap();
        assert!(matches!(event, WatchEvent::Error(status) if status.code == 410));
        let bookmark = r#"{"type":"BOOKMARK","object":{"kind":"Pipeline","apiVersion":"sluice.dev/v1alpha1","metadata":{"resourceVersion":"9"}}}"#;
        let event: WatchEvent<Guarded<Pipeline>> = serde_json::from_str(bookmark).unwrap();
        assert!(matches!(event, WatchEvent::Bookmark(_)));
    }

    /// Every kind of object has them, and who may edit its labels may write there what he likes.
    #[test]
    fn what_stands_in_managed_fields_takes_no_object_out_of_sight() {
        let deep = nested(150, r#"{"f:x":"#, "}").replace(":}", ":{}}");
        for managed in [
            r#"[{"time":"9999-12-31T23:59:59Z"}]"#.to_owned(),
            format!(r#"[{{"fieldsV1":{deep}}}]"#),
        ] {
            let metadata = format!(r#","managedFields":{managed}"#);
            let object: Guarded<Pipeline> =
                serde_json::from_str(&pipeline("a", &metadata, r#"{"approved":true}"#)).unwrap();
            let object = object.0.unwrap();
            assert_eq!(object.spec.approved, Some(true));
            assert_eq!(object.uid().as_deref(), Some("u"));
            let text = format!(
                r#"{{"apiVersion":"v1","kind":"K","metadata":{{"name":"a"{metadata}}},"spec":{{"pipelineRef":{{"name":"p"}},"changeId":"c","decision":"Reject"}}}}"#
            );
            let map: Guarded<PartialObjectMeta<ConfigMap>> = serde_json::from_str(&text).unwrap();
            assert_eq!(map.0.unwrap().name_any(), "a");
            let vote: Guarded<PipelineApproval> = serde_json::from_str(&text).unwrap();
            assert_eq!(vote.0.unwrap().spec.decision, VoteDecision::Reject);
        }
    }

    #[test]
    fn what_is_told_of_one_that_cannot_be_read_is_short() {
        let long = format!(r#"{{"desiredState":"{}"}}"#, r"\u001b".repeat(100_000));
        let object: Guarded<Pipeline> = serde_json::from_str(&pipeline("a", "", &long)).unwrap();
        let unfit = object.0.unwrap_err();
        assert!(!unfit.why.is_empty() && text::REASON.holds(&unfit.why));
        assert!(!unfit.why.contains('\u{1b}'));
    }

    #[test]
    fn what_could_be_read_before_can_be_read() {
        // A list and its items took two of serde_json's 127 levels.
        let deep = nested(DEEPEST - 3, "[", "]");
        let text = pipeline("a", "", &format!(r#"{{"runtimeConfig":{{"x":{deep}}}}}"#));
        let object: Guarded<Pipeline> = serde_json::from_str(&text).unwrap();
        assert!(object.0.is_ok(), "{:?}", object.0);
        // Brackets in a text are none.
        let sql = json!({"program": {"sql": format!("\"\\{}", "[{".repeat(1_000))}}).to_string();
        let object: Guarded<Pipeline> = serde_json::from_str(&pipeline("a", "", &sql)).unwrap();
        assert!(object.0.is_ok(), "{:?}", object.0);
    }

    proptest! {
        /// Whatever stands in the others.
        #[test]
        fn no_element_hides_another(elements in proptest::collection::vec("[a-z]{0,3}|[0-9]{1,3}", 0..6), deep in 0..400_usize) {
            let deep = nested(deep, "[", "]");
            let mut items: Vec<String> = elements.iter().map(|element| format!("{element:?}")).collect();
            items.push(if deep.is_empty() { "null".into() } else { deep });
            items.push(pipeline("good", "", "{}"));
            let text = format!(r#"{{"metadata":{{}},"items":[{}]}}"#, items.join(","));
            let list: ObjectList<Guarded<Pipeline>> = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(list.items.len(), items.len());
            prop_assert_eq!(list.items.last().unwrap().name_any(), "good");
            prop_assert_eq!(list.items.iter().filter(|item| item.0.is_ok()).count(), 1);
        }
    }
}
