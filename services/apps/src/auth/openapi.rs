//! What the documents of the APIs say about tokens.

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, Ref, Response, ResponseBuilder};
use utoipa::{Modify, openapi};

use crate::problem::PROBLEM_JSON;

/// The name of the scheme.
const SCHEME: &str = "bearerAuth";

/// Adds to a document that every operation can ask for a token, and what it answers where there is no good one.
#[derive(Debug)]
pub struct BearerAuth;

impl Modify for BearerAuth {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").description(Some(
            "A JSON Web Token of the issuer that the deployment trusts. One that trusts none asks for no token.",
        ));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme(SCHEME, SecurityScheme::Http(scheme.build()));
        // The empty requirement says that it may be left out, which is the deployment's to decide.
        let bearer = SecurityRequirement::new(SCHEME, Vec::<String>::new());
        document.security = Some(vec![SecurityRequirement::default(), bearer]);
        for path in document.paths.paths.values_mut() {
            let operations =
                [&mut path.get, &mut path.post, &mut path.put, &mut path.delete, &mut path.patch];
            for operation in operations.into_iter().flatten() {
                operation.responses.responses.insert("401".to_owned(), unauthorized().into());
            }
        }
    }
}

fn unauthorized() -> Response {
    let problem = Content::new(Some(Ref::from_schema_name("Problem")));
    ResponseBuilder::new()
        .description("The deployment asks for a token, and there is none or not a good one; WWW-Authenticate says more.")
        .content(PROBLEM_JSON, problem)
        .build()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use utoipa::OpenApi;

    use super::*;
    use crate::problem::ProblemBody;

    #[utoipa::path(get, path = "/api/v1/things", responses((status = 200, description = "Things.")))]
    #[expect(dead_code, reason = "stands for a handler")]
    fn things() {}

    #[derive(OpenApi)]
    #[openapi(paths(things), components(schemas(ProblemBody)), modifiers(&BearerAuth))]
    struct Document;

    #[test]
    fn a_document_says_that_a_token_may_be_asked_for() {
        let document = serde_json::to_value(Document::openapi()).unwrap();

        assert_eq!(document["security"], json!([{}, {"bearerAuth": []}]));
        let scheme = &document["components"]["securitySchemes"]["bearerAuth"];
        assert_eq!((&scheme["type"], &scheme["scheme"]), (&json!("http"), &json!("bearer")));
        assert_eq!(scheme["bearerFormat"], "JWT");
        let answer = &document["paths"]["/api/v1/things"]["get"]["responses"]["401"];
        let schema = &answer["content"][PROBLEM_JSON]["schema"]["$ref"];
        assert_eq!(schema, "#/components/schemas/Problem", "{answer}");
    }
}
