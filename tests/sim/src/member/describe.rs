//! The API's own description, as Liberty serves it: a Swagger 2.0 document of the paths.

use serde_json::{Map, Value, json};

use super::route::{Route, admin_routes, data_routes};
use super::{ADMIN_PORT, Member};

impl Member {
    /// The description of the API of one port.
    pub(super) fn describe_api(&self, port: u16) -> Value {
        let profile = self.behaviour().profile;
        let (title, base, routes) = if port == ADMIN_PORT {
            let routes = admin_routes(&profile);
            ("XSLD administration", profile.admin_base.clone(), routes)
        } else {
            ("XSLD data", profile.data_base.clone(), data_routes(&profile))
        };
        let mut paths = Map::new();
        for route in &routes {
            let Some(path) = route.path.strip_prefix(&base) else { continue };
            let operations = paths.entry(path.to_owned()).or_insert_with(|| json!({}));
            operations[route.method.to_ascii_lowercase()] = operation(route, path);
        }
        json!({
            "swagger": "2.0",
            "info": {"title": title, "version": profile.release},
            "host": format!("{}:{port}", self.host_name()),
            "basePath": base,
            "schemes": ["https"],
            "consumes": ["application/json"],
            "produces": ["application/json"],
            "paths": paths,
        })
    }
}

fn operation(route: &Route, path: &str) -> Value {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = names
        .map(|name| json!({"name": name, "in": "path", "required": true, "type": "string"}))
        .collect();
    if matches!(route.method, "POST" | "PUT") && !path.ends_with("/force") {
        parameters.push(json!({"name": "body", "in": "body", "schema": {"type": "object"}}));
    }
    json!({
        "operationId": format!("{:?}", route.call),
        "tags": [path.split('/').nth(1).unwrap_or_default()],
        "parameters": parameters,
        "responses": {"200": {"description": "success"}},
    })
}
