//! The description of what is served over JSON (OpenAPI 3.1), for clients that are made from it.

use serde_json::Value;

use crate::config::Role;
use crate::http::ROUTES;

/// Everything that is served by some role; a test holds it against the route table.
const ALL: &str = include_str!("openapi.json");

/// The description of what this role serves.
pub(crate) fn of(role: Role) -> Vec<u8> {
    let mut description: Value = serde_json::from_str(ALL).unwrap_or_default();
    if let Some(paths) = description.get_mut("paths").and_then(Value::as_object_mut) {
        paths.retain(|path, _| ROUTES.iter().any(|route| route.path == path && role.performs(route.verb)));
    }
    description.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::http::{Access, Route};
    use crate::protocol::Verb;

    fn described(role: Role) -> Value {
        serde_json::from_slice(&of(role)).unwrap()
    }

    fn is_json(route: &&Route) -> bool {
        matches!(route.verb, Verb::Json(_))
    }

    #[test]
    fn every_route_is_described_with_its_method_and_its_access_and_nothing_else_is() {
        let description = described(Role::Both);
        let paths = description["paths"].as_object().unwrap();
        let routes: BTreeSet<&str> = ROUTES.iter().filter(is_json).map(|route| route.path).collect();
        assert_eq!(paths.keys().map(String::as_str).collect::<BTreeSet<_>>(), routes);
        let anyone = serde_json::json!([{"bearer": []}, {}]);
        for route in ROUTES.iter().filter(is_json) {
            let operations = paths[route.path].as_object().unwrap();
            let methods: Vec<String> = route.verb.methods().iter().map(|method| method.to_lowercase()).collect();
            assert_eq!(operations.keys().cloned().collect::<Vec<_>>(), methods, "{}", route.path);
            for (_, operation) in operations {
                let security = match route.access {
                    Access::Public => serde_json::json!([]),
                    Access::Account(_) => serde_json::json!([{"bearer": []}]),
                    Access::Nonce | Access::Appraisal => anyone.clone(),
                    Access::Message | Access::Renewal(_) => panic!("{}: no route of JSON is so", route.path),
                };
                assert_eq!(operation["security"], security, "{}", route.path);
                assert_eq!(operation.get("requestBody").is_some(), route.body_octets > 0, "{}", route.path);
                let names_id = operation["parameters"].to_string().contains("\"in\":\"path\"");
                assert_eq!(names_id, route.path.contains("{id}"), "{}", route.path);
                for status in ["401", "413", "500", "503"] {
                    assert!(operation["responses"].get(status).is_some(), "{} {status}", route.path);
                }
            }
        }
    }

    #[test]
    fn a_role_describes_what_it_serves() {
        for role in [Role::Enrolment, Role::Issuing] {
            let description = described(role);
            let paths = description["paths"].as_object().unwrap();
            let served = ROUTES.iter().filter(is_json).filter(|route| role.performs(route.verb));
            assert_eq!(paths.len(), served.count());
        }
    }

    #[test]
    fn references_lead_somewhere() {
        fn walk(value: &Value, all: &Value) {
            match value {
                Value::Object(members) => {
                    if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
                        assert!(all.pointer(reference.strip_prefix('#').unwrap()).is_some(), "{reference}");
                    }
                    members.values().for_each(|member| walk(member, all));
                }
                Value::Array(elements) => elements.iter().for_each(|element| walk(element, all)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        let description = described(Role::Both);
        walk(&description, &description);
    }
}
