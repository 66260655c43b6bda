//! The driver's I/O for real: the API server, the engine, and what this process has heard of both.

use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use super::engines::EngineKey;
use super::observe::{self, View};
use super::work::Turn;
use super::{Context, Error, act, audit, content, finalizers, previews, rivals, status, votes};
use crate::crd::{FINALIZER, Pipeline, PipelineStatus};
use crate::engine::PipelineState;
use crate::gate::change::Content;
use crate::gate::decide::{Act, Guard, Needs, Observation, Report};
use crate::gate::driver::{Io, Known, Now, Performed, Read, Written};
use crate::gate::memory::{Memory, Pace};
use crate::policies::Trust;

/// How soon the audit log is tried again that couldn't be written.
const AUDIT_AGAIN: Duration = Duration::from_secs(10);

/// What one reconcile works with.
pub(super) struct Live<'a> {
    context: &'a Context,
    turn: &'a Turn,
    view: View,
    /// How the admission policies stood when it began.
    trust: Trust,
    may_note_policies: bool,
}

impl<'a> Live<'a> {
    /// Looks at the engine for the first time.
    pub(super) async fn begin(pipeline: &Pipeline, context: &'a Context, turn: &'a Turn) -> Self {
        let trust = context.trust.borrow().clone();
        Self {
            context,
            turn,
            view: observe::begin(pipeline, context, turn).await,
            may_note_policies: context.notes.may_note(pipeline, &trust),
            trust,
        }
    }

    /// The policies as they stand now, if they are needed.
    async fn policies(&self, is_needed: bool) -> Result<Option<Trust>, Error> {
        Ok(match is_needed {
            true => Some(self.context.guard.confirm().await?),
            false => None,
        })
    }
}

impl Io for Live<'_> {
    type Error = Error;

    async fn content(&mut self, pipeline: &Pipeline) -> Result<Option<Content>, String> {
        content::resolve(pipeline, self.context).await
    }

    fn known(&self, pipeline: &Pipeline) -> Known {
        let context = self.context;
        Known {
            votes: context.votes.of(pipeline),
            trust: self.trust.clone(),
            // What the engine shows by now may carry somebody's mark.
            rival: rivals::rival(pipeline, &self.view, context),
            mark_is_released: rivals::mark_is_released(pipeline, &self.view.observation, context),
            may_note_policies: self.may_note_policies,
            compile_beforehand: context.settings.compile_beforehand,
            timing: context.settings.timing,
        }
    }

    fn view(&self) -> (&Observation, Option<&PipelineState>) {
        (&self.view.observation, self.view.build.as_ref())
    }

    fn memory<T>(&mut self, of: &Pipeline, change: impl FnOnce(&mut Memory) -> T) -> T {
        self.context.memories.of(of, change)
    }

    fn pace(&self) -> Pace {
        self.context.memories.pace()
    }

    fn now(&self) -> Now {
        Now {
            time: Timestamp::now(),
            instant: Instant::now(),
        }
    }

    async fn audit(&mut self, pipeline: &Pipeline) -> Result<Option<Vec<String>>, Error> {
        let written = self.context.audit.write(pipeline).await;
        Ok(self.context.audit.is_on().then_some(written))
    }

    async fn read(&mut self, pipeline: &Pipeline, needs: Needs) -> Result<Read, Error> {
        let context = self.context;
        let policies = self.policies(needs.policies);
        let votes = async {
            Ok::<_, Error>(match needs.votes {
                true => Some(votes::read(pipeline, context).await?),
                false => None,
            })
        };
        let object = async {
            Ok::<_, Error>(match needs.object {
                true => Some(status::read(pipeline, context).await?),
                false => None,
            })
        };
        let of_api_server = async { tokio::try_join!(policies, votes, object) };
        if !needs.engine {
            let (policies, votes, object) = of_api_server.await?;
            return Ok(Read {
                policies,
                votes,
                object,
                engine: None,
            });
        }
        let mut view = self.view.clone();
        let name = pipeline.engine_pipeline_name();
        let look = self.turn.away(observe::look(name, &mut view));
        let (read, looked) = tokio::join!(of_api_server, look);
        let (policies, votes, object) = read?;
        self.view = view;
        Ok(Read {
            policies,
            votes,
            object,
            engine: looked.err(),
        })
    }

    async fn hold(&mut self, pipeline: &Pipeline) -> Result<Option<Pipeline>, Error> {
        finalizers::write(pipeline, FINALIZER, true, &self.context.client).await
    }

    async fn write(
        &mut self,
        pipeline: &Pipeline,
        status: PipelineStatus,
        reports: Vec<Report>,
    ) -> Result<Written, Error> {
        let written = status::write(pipeline, status, self.context).await?;
        if let Written::Stored(stored) = &written {
            self.context.reporter.report(&**stored, reports);
            self.context.engines.note_lost(stored);
        }
        Ok(written)
    }

    async fn perform(
        &mut self,
        pipeline: &Pipeline,
        act: &Act,
        guard: &Guard,
        is_in_view: bool,
    ) -> Result<Performed, Error> {
        let mut _turn = None;
        if let Act::Preview(_) = act {
            let engine = EngineKey::of(pipeline);
            let waits = ObjectRef::new(&pipeline.name_any())
                .within(&pipeline.namespace().unwrap_or_default());
            _turn = self
                .context
                .previews
                .may_begin(&engine, &waits, Instant::now());
            if _turn.is_none() {
                return Ok(Performed::Later(previews::ASK_AGAIN));
            }
        }
        // In one go: to wait for a place between a look and a call would make the look an old one.
        let view = &mut self.view;
        let performed = act::perform(act, guard, is_in_view, pipeline, view, self.context);
        Ok(Performed::Done(self.turn.away(performed).await?))
    }

    async fn keep_house(&mut self, pipeline: &Pipeline) -> Option<Duration> {
        self.context.engines.note_lost(pipeline);
        let votes = votes::keep_house(pipeline, self.context).await;
        let unaudited = audit::is_pending(pipeline).then_some(AUDIT_AGAIN);
        votes.into_iter().chain(unaudited).min()
    }
}
