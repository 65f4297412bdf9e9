//! `spec.gateway`: how callers from outside the cluster reach the services' APIs, and who they have to be.

#![expect(unreachable_pub, reason = "the KubeSchema derive repeats each struct inside a function")]

use std::collections::BTreeMap;

use contract::Service;
use kube::KubeSchema;
use kube::core::{Message, Rule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::crd::OBJECT_NAME;
use crate::crd::ca_secret_ref::CaSecretRef;

/// Who may use the services' APIs, and how they are reached from outside the cluster.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct GatewaySpec {
    /// Whose tokens callers have to bring. Each service checks them itself, wherever a request comes from. Without it,
    /// whoever reaches an API may use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt: Option<JwtSpec>,

    /// How APIs are reached from outside the cluster. Without it they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<RouteSpec>,
}

/// Whose tokens are taken: signed JWTs, sent as `Authorization: Bearer`. Any that holds lets its bearer do all that the
/// API offers.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "!has(self.caSecretRef) || (has(self.jwksUrl) ? self.jwksUrl : self.issuer).startsWith('https://')"
    )
    .message("gateway.jwt.caSecretRef is used with https:// only; correct the address of the keys or remove it")
)]
pub struct JwtSpec {
    /// The issuer: what tokens have as `iss`, to the letter, such as `https://login.example/realms/shop`.
    #[schemars(length(max = 2048), regex(pattern = r"^https?://[^\s/@?#]+(/[^\s?#]*)?$"))]
    pub issuer: String,

    /// Tokens are for one of these (`aud`). Without any, tokens for everybody are taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 256), regex(pattern = r"^[^\s,]+$")), extend(
        "x-kubernetes-list-type" = "set"
    ))]
    pub audiences: Vec<String>,

    /// Where the keys are that sign the tokens (a JSON Web Key Set). Default: what the issuer says in its
    /// `/.well-known/openid-configuration`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = r"^https?://[^\s/@?#]+(/[^\s#]*)?$"))]
    pub jwks_url: Option<String>,

    /// Secret with the certificates of the authority that signed those of the issuer and of its keys' address; without
    /// it the system's authorities are trusted, with it these as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<CaSecretRef>,
}

/// How APIs are reached from outside the cluster: for each of the services an Ingress or an HTTPRoute, of the name of
/// its other objects.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.ingress) != has(self.httpRoute)")
        .message("gateway.route must name exactly one of ingress and httpRoute")
)]
pub struct RouteSpec {
    /// The names that callers use, such as `orders.shop.example`. `*.` at the beginning stands for one label in an
    /// Ingress, and for one or more in an HTTPRoute.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 253), regex(pattern = HOST)), extend(
        "x-kubernetes-list-type" = "set"
    ))]
    pub hosts: Vec<String>,

    /// The services whose API is reached. The others' are for the cluster: who may set the stock is not who may order.
    #[serde(default = "order_alone")]
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 63)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = has_api_rule())]
    pub services: Vec<String>,

    /// By an Ingress, which any ingress controller serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<IngressRoute>,

    /// By an HTTPRoute of the Gateway API, which the Gateways that it names serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_route: Option<HttpRouteParents>,
}

/// What an Ingress says besides hosts and paths.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "!has(self.annotations) || self.annotations.all(name, !name.startsWith('orderpipeline.dev/'))"
    )
    .message("gateway.route.ingress.annotations has one of the operator's own (orderpipeline.dev/); remove it")
)]
pub struct IngressRoute {
    /// The IngressClass. Without it an Ingress gets the cluster's default when it is made; if the name is removed later,
    /// delete the Ingress, and it is made again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub class_name: Option<String>,

    /// Name of the Secret with the hosts' certificate, which whoever issues certificates may also make. Without it the
    /// ingress controller decides how it speaks TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub tls_secret_name: Option<String>,

    /// Annotations, by which controllers of ingresses and certificates are told more.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub annotations: BTreeMap<String, String>,
}

/// The Gateways that serve an HTTPRoute.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteParents {
    /// The Gateways; each has to allow routes from the pipeline's namespace.
    #[schemars(length(min = 1, max = 8))]
    pub parent_refs: Vec<ParentRef>,
}

/// A Gateway.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ParentRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub name: String,

    /// Its namespace; the pipeline's without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = OBJECT_NAME))]
    pub namespace: Option<String>,

    /// One of its listeners; all that the route fits without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub section_name: Option<String>,
}

/// A DNS name, `*` as its first label at most: what Ingresses and HTTPRoutes both take.
const HOST: &str = r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

fn order_alone() -> Vec<String> {
    vec![Service::Order.name().to_owned()]
}

fn has_api_rule() -> Rule {
    let with_api = Service::ALL.iter().filter(|service| service.spec().has_api());
    let names: Vec<&str> = with_api.map(|service| service.name()).collect();
    Rule::new(format!("self.all(name, name in ['{}'])", names.join("', '"))).message(Message::Message(
        format!("gateway.route.services names one that has no API; these have: {}", names.join(", ")),
    ))
}
