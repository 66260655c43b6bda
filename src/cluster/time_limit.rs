//! Ends a call that takes too long, whether its answer doesn't begin or doesn't end.
//!
//! A watch has no limit: it is heard by [`super::watch_beat`] instead.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tower::{BoxError, Layer, Service};

use super::watch_beat;

/// A layer for the client: how long a call may take.
#[derive(Clone)]
pub struct TimeLimit(pub Duration);

impl<S> Layer<S> for TimeLimit {
    type Service = InTime<S>;

    fn layer(&self, inner: S) -> Self::Service {
        InTime {
            inner,
            limit: self.0,
        }
    }
}

/// The client with the layer around it.
#[derive(Clone)]
pub struct InTime<S> {
    inner: S,
    limit: Duration,
}

/// Why a call was ended.
#[derive(Debug, thiserror::Error)]
#[error("no whole answer within {} s", .0.as_secs_f32())]
pub struct TooSlow(Duration);

impl<S, B, R> Service<Request<B>> for InTime<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
{
    type Response = Response<Limited<R>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let limit = self.limit;
        let unlimited = watch_beat::is_watch(request.uri());
        let answer = self.inner.call(request);
        Box::pin(async move {
            if unlimited {
                let answer = answer.await.map_err(Into::into)?;
                return Ok(answer.map(|body| Limited { body, rest: None }));
            }
            let end = Instant::now() + limit;
            let answer = timeout_at(end, answer).await;
            let answer = answer.map_err(|_| TooSlow(limit))?.map_err(Into::into)?;
            Ok(answer.map(|body| Limited {
                body,
                rest: Some((limit, Box::pin(sleep_until(end)))),
            }))
        })
    }
}

/// An answer that must end in time.
pub struct Limited<R> {
    body: R,
    rest: Option<(Duration, Pin<Box<Sleep>>)>,
}

impl<R> Body for Limited<R>
where
    R: Body + Unpin,
    R::Error: Into<BoxError>,
{
    type Data = R::Data;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, BoxError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if frame.is_pending()
            && let Some((limit, rest)) = &mut self.rest
            && rest.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Some(Err(TooSlow(*limit).into())));
        }
        frame.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Bytes;
    use futures::channel::mpsc::{UnboundedSender, unbounded};
    use futures::{StreamExt, TryStreamExt};

    type Pieces = UnboundedSender<Result<Bytes, std::io::Error>>;

    /// A service whose answer begins at once and comes in the pieces that are sent.
    async fn begin(uri: &str) -> (Pieces, Response<Limited<axum::body::Body>>) {
        let (pieces, answer) = unbounded();
        let mut answer = Some(answer);
        let inner = tower::service_fn(move |_: Request<()>| {
            let body = axum::body::Body::from_stream(answer.take().unwrap());
            async { Ok::<_, std::io::Error>(Response::new(body)) }
        });
        let mut service = TimeLimit(Duration::from_secs(30)).layer(inner);
        let request = Request::get(uri).body(()).unwrap();
        (pieces, service.call(request).await.unwrap())
    }

    async fn whole(answer: Response<Limited<axum::body::Body>>) -> Result<usize, String> {
        let stream = axum::body::Body::new(answer.into_body()).into_data_stream();
        let all: Result<Vec<Bytes>, _> = stream.try_collect().await;
        all.map(|pieces| pieces.len())
            .map_err(|error| error.to_string())
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_does_not_begin_is_given_up() {
        let inner = tower::service_fn(async |_: Request<()>| {
            std::future::pending::<Result<Response<axum::body::Body>, BoxError>>().await
        });
        let mut service = TimeLimit(Duration::from_secs(30)).layer(inner);
        let request = Request::get("/api/v1/pods").body(()).unwrap();
        let error = service.call(request).await.err().unwrap();
        assert_eq!(error.to_string(), "no whole answer within 30 s");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_does_not_end_is_given_up() {
        let (pieces, answer) = begin("/api/v1/pods").await;
        pieces.unbounded_send(Ok(Bytes::from("{"))).unwrap();
        let error = whole(answer).await.unwrap_err();
        assert_eq!(error, "no whole answer within 30 s");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_in_time_is_whole() {
        let (pieces, answer) = begin("/api/v1/pods").await;
        pieces.unbounded_send(Ok(Bytes::from("{"))).unwrap();
        pieces.unbounded_send(Ok(Bytes::from("}"))).unwrap();
        drop(pieces);
        assert_eq!(whole(answer).await, Ok(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_may_be_silent_for_longer() {
        let (pieces, answer) = begin("/api/v1/pods?watch=true").await;
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(50)).await;
            pieces.unbounded_send(Ok(Bytes::from("{}"))).unwrap();
        });
        let mut stream = axum::body::Body::new(answer.into_body()).into_data_stream();
        assert_eq!(stream.next().await.unwrap().unwrap(), "{}");
    }
}
