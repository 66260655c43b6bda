//! Lets nothing be written to the API server by a replica that doesn't lead.
//!
//! A process that was paused, and wakes up with half of its work done, is stopped here, whatever
//! that work was. What it read stays harmless.

use std::future::{Ready, ready};
use std::task::{Context, Poll};

use futures::future::Either;
use http::{Method, Request};
use tower::{BoxError, Layer, Service};

use crate::lease::Leadership;

/// A layer for kube's client.
#[derive(Clone)]
pub struct Fence(pub Leadership);

impl<S> Layer<S> for Fence {
    type Service = Fenced<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Fenced {
            inner,
            leadership: self.0.clone(),
        }
    }
}

/// The client with the layer around it.
#[derive(Clone)]
pub struct Fenced<S> {
    inner: S,
    leadership: Leadership,
}

impl<S, B> Service<Request<B>> for Fenced<S>
where
    S: Service<Request<B>>,
    S::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Either<
        futures::future::MapErr<S::Future, fn(S::Error) -> BoxError>,
        Ready<Result<Self::Response, BoxError>>,
    >;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if request.method() != Method::GET && !self.leadership.holds() {
            let refused = "this replica doesn't lead any more, and writes nothing";
            return Either::Right(ready(Err(refused.into())));
        }
        let into: fn(S::Error) -> BoxError = Into::into;
        Either::Left(futures::TryFutureExt::map_err(
            self.inner.call(request),
            into,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tower::ServiceExt;

    async fn answer(leadership: Leadership, method: Method) -> Result<(), String> {
        let inner = tower::service_fn(async |_: Request<()>| Ok::<_, BoxError>(()));
        let request = Request::builder().method(method).body(()).unwrap();
        let fenced = Fence(leadership).layer(inner);
        fenced
            .oneshot(request)
            .await
            .map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn who_does_not_lead_reads_and_does_not_write() {
        let unelected = Leadership::unelected();
        let deposed = Leadership::never();
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            answer(unelected.clone(), method.clone()).await.unwrap();
            let refused = answer(deposed.clone(), method).await.unwrap_err();
            assert!(refused.contains("doesn't lead"), "{refused}");
        }
        answer(deposed, Method::GET).await.unwrap();
    }
}
