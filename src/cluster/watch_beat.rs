//! Hears the watches: each request for one, and each piece of its answer, is a beat.
//!
//! The API server sends a bookmark about every minute on a watch that has nothing to tell, and ends
//! it after five; kube then asks again. So a watch that is silent for longer than that hangs, however
//! well everything else goes. The stream of events that kube makes of it doesn't show bookmarks,
//! which is why they are heard for here, at the HTTP client.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use http_body::{Body, Frame};
use tower::{Layer, Service};

use crate::health::Health;

/// How long a watch may be silent: kube gives up one that hangs after 295 s and a margin, and may
/// have to list everything first.
const WITHIN: Duration = Duration::from_secs(420);

/// A layer for kube's client.
#[derive(Clone)]
pub struct WatchBeat(pub Health);

impl<S> Layer<S> for WatchBeat {
    type Service = Hearing<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Hearing {
            inner,
            health: self.0.clone(),
        }
    }
}

/// The client with the layer around it.
#[derive(Clone)]
pub struct Hearing<S> {
    inner: S,
    health: Health,
}

impl<S, B, R> Service<Request<B>> for Hearing<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
{
    type Response = Response<Heard<R>>;
    type Error = S::Error;
    type Future =
        Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send + 'static>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let beat = part_of(request.uri()).map(|part| Beat {
            part,
            health: self.health.clone(),
        });
        if let Some(beat) = &beat {
            beat.beat();
        }
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            Ok(answer.map(|body| Heard { body, beat }))
        })
    }
}

#[derive(Clone)]
struct Beat {
    part: String,
    health: Health,
}

impl Beat {
    fn beat(&self) {
        self.health.beat(&self.part, WITHIN);
    }
}

/// An answer that is listened to while it comes.
pub struct Heard<R> {
    body: R,
    beat: Option<Beat>,
}

impl<R: Body + Unpin> Body for Heard<R> {
    type Data = R::Data;
    type Error = R::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let (Poll::Ready(Some(Ok(_))), Some(beat)) = (&frame, &self.beat) {
            beat.beat();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

/// The part that a request is of: the watch of a kind. `None` for everything else.
fn part_of(uri: &http::Uri) -> Option<String> {
    let kind = uri.path().rsplit('/').next()?;
    is_watch(uri).then(|| format!("watch of {kind}"))
}

/// Whether a request is for a watch.
pub fn is_watch(uri: &http::Uri) -> bool {
    let mut parameters = uri.query().unwrap_or_default().split('&');
    parameters.any(|parameter| matches!(parameter, "watch=true" | "watch=1"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Bytes;
    use futures::StreamExt;

    #[test]
    fn only_watches_are_heard() {
        let part = |uri: &str| part_of(&uri.parse().unwrap());
        assert_eq!(
            part("/apis/sluice.dev/v1alpha1/pipelines?&watch=true&timeoutSeconds=290"),
            Some("watch of pipelines".to_owned())
        );
        assert_eq!(part("/apis/sluice.dev/v1alpha1/pipelines?limit=500"), None);
        assert_eq!(part("/apis/sluice.dev/v1alpha1/pipelines"), None);
    }

    #[tokio::test]
    async fn every_piece_of_a_watch_is_a_beat() {
        let health = Health::default();
        let (pieces, answer) = futures::channel::mpsc::unbounded::<Result<Bytes, std::io::Error>>();
        let mut answer = Some(answer);
        let inner = tower::service_fn(move |_: Request<()>| {
            let body = axum::body::Body::from_stream(answer.take().unwrap());
            async { Ok::<_, std::io::Error>(Response::new(body)) }
        });
        let mut service = WatchBeat(health.clone()).layer(inner);
        let request = Request::get("/api/v1/configmaps?watch=true")
            .body(())
            .unwrap();
        let response = service.call(request).await.unwrap();
        let silent_since = |health: &Health| health.report()[0].age;
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert!(silent_since(&health) >= Duration::from_millis(30));
        let sent = std::time::Instant::now();
        pieces.unbounded_send(Ok(Bytes::from("{}"))).unwrap();
        let mut stream = axum::body::Body::new(response.into_body()).into_data_stream();
        stream.next().await.unwrap().unwrap();
        let silent = silent_since(&health);
        assert!(silent <= sent.elapsed(), "{silent:?}");
    }
}
