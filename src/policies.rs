//! Watches over the admission policies that vouch for the names of those who vote: are they there, do they
//! say what this version's say, and do they refuse what they must?
//!
//! The steps of a look: read the policies and their bindings → compare them with those that this version
//! was released with → prove each with a forged write, in a dry run → tell. Each replica looks for itself:
//! the one that leads counts votes, and all of them take votes by REST.
//!
//! They are read every few seconds, not watched: RBAC lets a watch be limited to a name only one by one,
//! and what a watch brings late must not open the gate. So they are read once more just before a decision
//! is recorded: see [`PolicyGuard::confirm`].

mod expected;
mod inspect;
mod proof;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::{join_all, try_join, try_join_all};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject, PostParams};
use kube::{Api, Client, ResourceExt};
use tokio::sync::{Mutex, MutexGuard, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::gate::canonical;
use crate::metrics::Metrics;
use expected::{Expected, KINDS, POLICIES};
use inspect::Sound;
use proof::Proof;

pub use crate::gate::policy_status::{Standing, Trust, vouched_from};

/// Those that vouch for names in fields and annotations of a Pipeline.
const OF_PIPELINES: [&str; 3] = ["sluice-pipelines", "sluice-names", "sluice-status"];

/// Those that vouch for names in PipelineApprovals.
const OF_VOTES: [&str; 2] = ["sluice-votes", "sluice-status"];

/// Those on which no vote depends, and what each of them does.
const OTHERS: [(&str, &str); 2] = [
    (
        "sluice-operator",
        "that Sluice's own account is kept to its work",
    ),
    (
        "sluice-engines",
        "that whoever has an Engine read a Secret may read it himself",
    ),
];

/// How often the policies are read.
const INTERVAL: Duration = Duration::from_secs(10);

/// How often they are read while something is not known yet or not as it should be.
const HASTE: Duration = Duration::from_secs(2);

/// How often what is proven is proven again.
const PROVE_AGAIN: Duration = Duration::from_secs(300);

/// For how long after it was given a forged write may be let through without that meaning anything.
const GRACE: Duration = Duration::from_secs(30);

/// How long one look may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Watches over the policies.
pub struct PolicyGuard {
    client: Client,
    metrics: Arc<Metrics>,
    known: Mutex<Known>,
    told: watch::Sender<Trust>,
}

/// What is known from earlier looks.
#[derive(Default)]
struct Known {
    /// What the policies have to say, with Sluice's own account in it.
    expected: Option<Expected>,
    proofs: HashMap<&'static str, Proven>,
    /// Which objects they were when they were read last.
    versions: HashMap<&'static str, Versions>,
    /// How those stood at the last look on which no vote depends.
    of_others: HashMap<&'static str, Finding>,
}

/// Which policy and binding those of a name are; anybody's write makes others of them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Versions {
    policy: Option<String>,
    binding: Option<String>,
}

/// What a proof of a policy came to.
struct Proven {
    epoch: String,
    proof: Proof,
    at: Instant,
}

/// How one policy stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Finding {
    /// It is sound and proven.
    Good(Sound),
    /// It can't be told now: why.
    CantTell(String),
    /// It isn't in force: why.
    Bad(String),
}

impl PolicyGuard {
    /// A guard that has seen nothing yet. `required` is whether votes must not count without it.
    pub fn new(client: Client, required: bool, metrics: Arc<Metrics>) -> Self {
        Self {
            client,
            metrics,
            known: Mutex::default(),
            told: watch::channel(Trust::unknown(required)).0,
        }
    }

    /// What was found last, and each time that changes.
    pub fn trust(&self) -> watch::Receiver<Trust> {
        self.told.subscribe()
    }

    /// As after a look that has found all of them in force, each of them with the uid `u` and the resourceVersion `1`.
    #[cfg(test)]
    pub(crate) async fn has_found_all_in_force(&self) {
        let in_force = || Standing::InForce {
            epoch: "e".into(),
            since: Timestamp::UNIX_EPOCH,
        };
        self.told.send_replace(Trust {
            required: true,
            pipelines: in_force(),
            votes: in_force(),
        });
        let versions = |name| {
            let version = Some("u/1".to_owned());
            let both = Versions {
                policy: version.clone(),
                binding: version,
            };
            (name, both)
        };
        self.known.lock().await.versions = POLICIES.map(versions).into();
    }

    /// Looks again and again, until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        loop {
            let pause = match tokio::time::timeout(TIMEOUT, self.look()).await {
                Ok(Ok(trust)) if trust.all_good() => INTERVAL,
                Ok(Ok(_)) => HASTE,
                Ok(Err(error)) => {
                    debug!(%error, "the admission policies can't be looked at");
                    HASTE
                }
                Err(_) => HASTE,
            };
            let rest = tokio::time::sleep(pause);
            if stop.run_until_cancelled(rest).await.is_none() {
                return;
            }
        }
    }

    /// How they stand now. Where all were in force at the last look, and each is still the one that was looked at, so they are.
    ///
    /// # Errors
    /// When the API server can't be asked. What was known before stays.
    pub async fn confirm(&self) -> Result<Trust, kube::Error> {
        let known = self.known.lock().await;
        let trust = self.told.borrow().clone();
        if trust.all_good() {
            let names: BTreeSet<_> = OF_PIPELINES.into_iter().chain(OF_VOTES).collect();
            let reads = names.iter().map(|name| self.versions(name));
            let found = try_join_all(reads).await?;
            let mut both = names.iter().zip(&found);
            if both.all(|(name, found)| known.versions.get(name) == Some(found)) {
                return Ok(trust);
            }
        }
        self.look_with(known).await
    }

    /// Looks now. What is found is also told to everybody.
    ///
    /// # Errors
    /// When the API server can't be asked. What was known before stays.
    async fn look(&self) -> Result<Trust, kube::Error> {
        // One at a time, so that what is told last is what was seen last.
        self.look_with(self.known.lock().await).await
    }

    async fn look_with(&self, mut known: MutexGuard<'_, Known>) -> Result<Trust, kube::Error> {
        // What was told is of these. A look that is cut short, or can't read something, tells nothing, so nothing may be taken
        // for what was looked at until a look has come to its end.
        known.versions.clear();
        let mut versions = HashMap::new();
        if known.expected.is_none() {
            known.expected = Some(Expected::of(self.own_name().await?));
        }
        let reads = join_all(POLICIES.map(|name| self.read(name))).await;
        let mut sound = vec![];
        for (name, read) in POLICIES.into_iter().zip(reads) {
            let found = match read {
                Ok((policy, binding)) => {
                    let seen = Versions {
                        policy: policy.as_ref().and_then(version_of),
                        binding: binding.as_ref().and_then(version_of),
                    };
                    versions.insert(name, seen);
                    known.inspect(name, policy.as_ref(), binding.as_ref())
                }
                Err(kube::Error::Api(status)) if status.code == 403 => Err(Finding::CantTell(
                    format!("{name} can't be read: {}", status.message),
                )),
                Err(error) => return Err(error),
            };
            sound.push((name, found));
        }
        self.prove(&mut known, &sound).await;
        let findings: HashMap<&str, Finding> = sound
            .into_iter()
            .map(|(name, found)| (name, self.finding(name, found, &known)))
            .collect();
        for (name, finding) in &findings {
            self.metrics.policy(name, finding.in_force());
        }
        let trust = Trust {
            required: self.told.borrow().required,
            pipelines: together(OF_PIPELINES.map(|name| &findings[name])),
            votes: together(OF_VOTES.map(|name| &findings[name])),
        };
        self.tell(&trust);
        known.versions = versions;
        for (name, what_it_does) in OTHERS {
            let finding = &findings[name];
            if known.of_others.get(name) != Some(finding) {
                tell_of_another(what_it_does, finding);
                known.of_others.insert(name, finding.clone());
            }
        }
        Ok(trust)
    }

    async fn own_name(&self) -> Result<String, kube::Error> {
        let reviews = Api::<SelfSubjectReview>::all(self.client.clone());
        let review = reviews
            .create(&PostParams::default(), &SelfSubjectReview::default())
            .await?;
        let user = review.status.and_then(|status| status.user_info);
        Ok(user.and_then(|user| user.username).unwrap_or_default())
    }

    /// A policy and its binding.
    async fn read(
        &self,
        name: &str,
    ) -> Result<(Option<DynamicObject>, Option<DynamicObject>), kube::Error> {
        let [policies, bindings] = self.apis();
        try_join(policies.get_opt(name), bindings.get_opt(name)).await
    }

    /// Which they are by now, a policy and its binding. That is a fraction of what they say.
    async fn versions(&self, name: &str) -> Result<Versions, kube::Error> {
        let [policies, bindings] = self.apis();
        let read = try_join(
            policies.get_metadata_opt(name),
            bindings.get_metadata_opt(name),
        );
        let (policy, binding) = read.await?;
        Ok(Versions {
            policy: policy.as_ref().and_then(version_of),
            binding: binding.as_ref().and_then(version_of),
        })
    }

    fn apis(&self) -> [Api<DynamicObject>; 2] {
        KINDS.map(|kind| {
            let plural = match kind {
                "ValidatingAdmissionPolicy" => "validatingadmissionpolicies",
                _ => "validatingadmissionpolicybindings",
            };
            let resource = ApiResource {
                group: "admissionregistration.k8s.io".to_owned(),
                version: "v1".to_owned(),
                api_version: "admissionregistration.k8s.io/v1".to_owned(),
                kind: kind.to_owned(),
                plural: plural.to_owned(),
            };
            Api::<DynamicObject>::all_with(self.client.clone(), &resource)
        })
    }

    /// Proves what is sound and isn't proven, or hasn't been for a while.
    async fn prove(&self, known: &mut Known, found: &[(&'static str, Result<Sound, Finding>)]) {
        let due: Vec<(&'static str, String)> = found
            .iter()
            .filter_map(|(name, found)| Some((*name, found.as_ref().ok()?)))
            .filter(|(name, sound)| is_due(known.proofs.get(name), sound, Instant::now()))
            .map(|(name, sound)| (name, sound.epoch.clone()))
            .collect();
        let user = known.expected.as_ref().map(|expected| &*expected.user);
        let namespace = proof::namespace_of(user.unwrap_or_default())
            .unwrap_or_else(|| self.client.default_namespace())
            .to_owned();
        for (name, epoch) in due {
            let proof = proof::forge(name, &self.client, &namespace).await;
            let proven_before = known
                .proofs
                .get(name)
                .is_some_and(|before| before.epoch == epoch && before.proof == Proof::Refused);
            // That it can't be told now takes nothing away from what was seen.
            if matches!(proof, Proof::CantTell(_)) && proven_before {
                continue;
            }
            let at = Instant::now();
            known.proofs.insert(name, Proven { epoch, proof, at });
        }
    }

    fn finding(&self, name: &str, found: Result<Sound, Finding>, known: &Known) -> Finding {
        let sound = match found {
            Ok(sound) => sound,
            Err(finding) => return finding,
        };
        let age = Timestamp::now().duration_since(sound.since);
        let age = Duration::try_from(age).unwrap_or_default();
        match known.proofs.get(name).map(|proven| &proven.proof) {
            // What is written before counts for nothing, so nobody is to write it.
            Some(Proof::Refused) if Timestamp::now() < vouched_from(sound.since) => {
                Finding::CantTell(format!(
                    "{name} is new, and may not be in force everywhere yet"
                ))
            }
            Some(Proof::Refused) => Finding::Good(sound),
            Some(Proof::LetThrough) if age < GRACE => {
                Finding::CantTell(format!("{name} is new, and isn't in force yet"))
            }
            Some(Proof::LetThrough) => Finding::Bad(format!(
                "{name} is there, but a write that it must refuse was let through"
            )),
            Some(Proof::CantTell(why)) => Finding::CantTell(format!(
                "{name} is there, but nothing has shown yet that it refuses what it must: {why}"
            )),
            None => Finding::CantTell(format!(
                "{name} is there, but nothing has shown yet that it refuses what it must"
            )),
        }
    }

    /// Tells everybody, if it is news.
    fn tell(&self, trust: &Trust) {
        let is_news = self.told.send_if_modified(|told| {
            let is_news = told != trust;
            if is_news {
                told.clone_from(trust);
            }
            is_news
        });
        if !is_news {
            return;
        }
        for (what, standing) in [
            ("fields and annotations of Pipelines", &trust.pipelines),
            ("PipelineApprovals", &trust.votes),
        ] {
            match standing {
                Standing::InForce { .. } => {
                    info!("admission policies vouch for the names of those who vote by {what}");
                }
                Standing::Unknown(why) => info!("who votes by {what} isn't known for sure: {why}"),
                Standing::Absent(why) => warn!(
                    votes_count = !trust.required,
                    "nothing vouches for the names of those who vote by {what}: {why}"
                ),
            }
        }
    }
}

/// Which object this is, and which write of it.
fn version_of(object: &impl ResourceExt) -> Option<String> {
    Some(format!("{}/{}", object.uid()?, object.resource_version()?))
}

/// Logs how a policy stands on which no vote depends.
fn tell_of_another(what_it_does: &str, finding: &Finding) {
    match finding {
        Finding::Good(_) => info!("an admission policy sees to it {what_it_does}"),
        Finding::CantTell(why) => {
            info!("it isn't known for sure {what_it_does}: {why}");
        }
        Finding::Bad(why) => warn!("nothing sees to it {what_it_does}: {why}"),
    }
}

impl Known {
    fn inspect(
        &self,
        name: &str,
        policy: Option<&DynamicObject>,
        binding: Option<&DynamicObject>,
    ) -> Result<Sound, Finding> {
        let Some(expected) = &self.expected else {
            return Err(Finding::CantTell("Sluice's own account isn't known".into()));
        };
        inspect::inspect(name, policy, binding, expected).map_err(Finding::Bad)
    }
}

impl Finding {
    /// Whether it is in force, where that can be told.
    fn in_force(&self) -> Option<bool> {
        match self {
            Self::Good(_) => Some(true),
            Self::Bad(_) => Some(false),
            Self::CantTell(_) => None,
        }
    }
}

/// Whether a policy has to be proven: it wasn't yet as it is now, or not lately.
fn is_due(proven: Option<&Proven>, sound: &Sound, now: Instant) -> bool {
    proven.is_none_or(|proven| {
        proven.epoch != sound.epoch
            || proven.proof != Proof::Refused
            || now.duration_since(proven.at) > PROVE_AGAIN
    })
}

/// How several policies stand that are needed together.
fn together<const N: usize>(findings: [&Finding; N]) -> Standing {
    let mut bad = vec![];
    let mut unknown = vec![];
    let mut epochs = vec![];
    let mut since = Timestamp::MIN;
    for finding in findings {
        match finding {
            Finding::Bad(why) => bad.push(why.as_str()),
            Finding::CantTell(why) => unknown.push(why.as_str()),
            Finding::Good(sound) => {
                epochs.push(sound.epoch.as_str());
                since = since.max(sound.since);
            }
        }
    }
    if !bad.is_empty() {
        Standing::Absent(bad.join("; "))
    } else if !unknown.is_empty() {
        Standing::Unknown(unknown.join("; "))
    } else {
        Standing::InForce {
            epoch: canonical::short_digest(&epochs),
            since,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(epoch: &str, since: &str) -> Finding {
        Finding::Good(Sound {
            epoch: epoch.to_owned(),
            since: since.parse().unwrap(),
        })
    }

    /// A policy is replaced, and the look at what it is by now fails over another one.
    #[tokio::test]
    async fn what_a_look_that_failed_had_read_vouches_for_nothing() {
        use http::{Request, Response};
        use kube::client::Body;
        let answer = |request: Request<Body>| async move {
            let path = request.uri().path().to_owned();
            let accepts = request.headers().get(http::header::ACCEPT);
            let is_metadata =
                accepts.is_some_and(|it| it.as_bytes().windows(7).any(|it| it == b"Partial"));
            let (code, resource_version) = match () {
                () if path.ends_with("policies/sluice-engines") && !is_metadata => (500, ""),
                () if path.ends_with("bindings/sluice-pipelines") => (200, "2"),
                () => (200, "1"),
            };
            let body = match code {
                200 => serde_json::json!({
                    "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                    "metadata": {"name": "it", "uid": "u", "resourceVersion": resource_version},
                }),
                code => serde_json::json!({
                    "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code,
                    "message": "no", "reason": "InternalError",
                }),
            };
            Response::builder()
                .status(code)
                .body(Body::from(body.to_string().into_bytes()))
        };
        let client = Client::new(tower::service_fn(answer), "default");
        let guard = PolicyGuard::new(client, true, Arc::new(Metrics::default()));
        guard.has_found_all_in_force().await;
        let good = guard.told.borrow().clone();
        guard.known.lock().await.expected = Some(Expected::of("sluice".into()));
        for _ in 0..3 {
            guard
                .confirm()
                .await
                .expect_err("one of them can't be read");
        }
        // As it was, it is vouched for without a look at what it says.
        guard.has_found_all_in_force().await;
        let mut known = guard.known.lock().await;
        let both = known.versions.get_mut("sluice-pipelines").unwrap();
        both.binding = Some("u/2".into());
        drop(known);
        assert_eq!(guard.confirm().await.unwrap(), good);
    }

    #[test]
    fn a_policy_is_proven_when_it_is_new_or_edited_and_again_after_a_while() {
        let Finding::Good(sound) = good("a", "2026-01-01T00:00:00Z") else {
            panic!("it is good");
        };
        let at = Instant::now();
        let proven = |epoch: &str, proof| Proven {
            epoch: epoch.to_owned(),
            proof,
            at,
        };
        let soon = at + Duration::from_secs(10);
        assert!(is_due(None, &sound, soon));
        assert!(!is_due(Some(&proven("a", Proof::Refused)), &sound, soon));
        assert!(is_due(Some(&proven("b", Proof::Refused)), &sound, soon));
        for proof in [Proof::LetThrough, Proof::CantTell("no".to_owned())] {
            assert!(is_due(Some(&proven("a", proof)), &sound, soon));
        }
        let later = at + PROVE_AGAIN + Duration::from_secs(1);
        assert!(is_due(Some(&proven("a", Proof::Refused)), &sound, later));
    }

    #[test]
    fn policies_that_are_needed_together_are_in_force_if_each_is_and_since_the_last_is() {
        let [a, b] = [
            good("a", "2026-01-01T00:00:00Z"),
            good("b", "2026-02-01T00:00:00Z"),
        ];
        let Standing::InForce { epoch, since } = together([&a, &b]) else {
            panic!("both are good");
        };
        assert_eq!(since.to_string(), "2026-02-01T00:00:00Z");
        let other = good("c", "2026-01-01T00:00:00Z");
        assert_ne!(
            together([&a, &other]),
            Standing::InForce { epoch, since },
            "another policy is another epoch"
        );
        let unknown = Finding::CantTell("nobody knows".into());
        let bad = Finding::Bad("it is gone".into());
        assert_eq!(
            together([&a, &unknown]),
            Standing::Unknown("nobody knows".into())
        );
        assert_eq!(
            together([&unknown, &bad, &a]),
            Standing::Absent("it is gone".into()),
            "what is gone for sure isn't hidden by what isn't known"
        );
    }
}
