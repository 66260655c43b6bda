//! The document that describes the endpoint, generated from the code.

use utoipa::{
    Modify, OpenApi,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};

use super::{feldera, routes};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Sluice REST API",
        // The version of the interface, not of the program that serves it.
        version = "v0",
        description = "Approves a change of a Feldera pipeline that waits at Sluice's approval gate. The path, the successful answer and the errors are those of Feldera's own REST API.",
    ),
    paths(routes::approve, feldera::config, routes::openapi_document),
    modifiers(&Security),
    tags((name = "Approval", description = "The approval gate"), (name = "Meta", description = "This document")),
)]
struct Document;

struct Security;

impl Modify for Security {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        components.add_security_scheme(
            // The name that the paths use.
            "bearer",
            SecurityScheme::Http(
                HttpBuilder::new()
                    .scheme(HttpAuthScheme::Bearer)
                    .description(Some(
                        "A token that the Kubernetes API server accepts: a service account's, or one of the identity provider that the API server trusts. Or an API key of this endpoint, which begins with apikey:",
                    ))
                    .build(),
            ),
        );
    }
}

/// The OpenAPI document of the REST endpoint.
pub fn openapi() -> utoipa::openapi::OpenApi {
    Document::openapi()
}
