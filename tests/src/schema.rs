//! Whether JSON output is what its schema in `docs/schemas` says: the few words of JSON Schema that are used there, and
//! no others.

use serde_json::{Map, Value};

/// Words that only explain.
const WORDS: [&str; 4] = ["$schema", "$id", "title", "description"];

/// What does not fit, each with its place in `value`. A word of JSON Schema that is not known here does not fit
/// either, and neither does a property that the schema does not name: it would not be documented.
#[must_use]
pub fn misfits(schema: &Value, value: &Value) -> Vec<String> {
    let mut misfits = Vec::new();
    check(schema, value, "", &mut misfits);
    misfits
}

fn check(schema: &Value, value: &Value, place: &str, misfits: &mut Vec<String>) {
    let Some(schema) = schema.as_object() else {
        return misfits.push(format!("{place}: schema is no object"));
    };
    for (word, rule) in schema {
        let fits = match word.as_str() {
            "const" => rule == value,
            "enum" => rule.as_array().is_some_and(|values| values.contains(value)),
            "type" => match rule {
                Value::Array(types) => types.iter().any(|name| is_a(name, value)),
                name => is_a(name, value),
            },
            "required" => {
                let has = |name: &Value| name.as_str().is_some_and(|name| value.get(name).is_some());
                !value.is_object() || rule.as_array().is_some_and(|names| names.iter().all(has))
            }
            "items" => {
                for (number, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(rule, item, &format!("{place}/{number}"), misfits);
                }
                true
            }
            "properties" => {
                properties(schema, rule, value, place, misfits);
                true
            }
            word => WORDS.contains(&word),
        };
        if !fits {
            misfits.push(format!("{place}: {value} is against {word} {rule}"));
        }
    }
}

fn properties(
    schema: &Map<String, Value>,
    rules: &Value,
    value: &Value,
    place: &str,
    misfits: &mut Vec<String>,
) {
    // What another schema describes is named by its own `schema` and not looked into.
    let elsewhere = rules.get("schema").is_some() && schema.get("$id").is_none();
    for (name, property) in value.as_object().into_iter().flatten() {
        match rules.get(name) {
            Some(rule) => check(rule, property, &format!("{place}/{name}"), misfits),
            None if elsewhere => {}
            None => misfits.push(format!("{place}: {name} is not in the schema")),
        }
    }
}

fn is_a(name: &Value, value: &Value) -> bool {
    match name.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_u64() || value.is_i64(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::misfits;
    use serde_json::json;

    #[test]
    fn what_fits_and_what_does_not() {
        let schema = json!({ "$id": "x", "type": "object", "required": ["a"], "properties": {
            "a": { "enum": [1, null] },
            "b": { "type": "array", "items": { "type": ["string", "null"] } },
            "c": { "type": "object", "properties": { "schema": { "const": "y" } } },
        } });
        let fits = |value| misfits(&schema, &value);
        assert_eq!(fits(json!({ "a": null, "b": ["x", null], "c": { "schema": "y", "more": 1 } })), [""; 0]);
        assert_eq!(fits(json!({ "a": 2 })), ["/a: 2 is against enum [1,null]"]);
        assert_eq!(fits(json!({})), [": {} is against required [\"a\"]"]);
        assert_eq!(fits(json!({ "a": 1, "b": [7] })), ["/b/0: 7 is against type [\"string\",\"null\"]"]);
        assert_eq!(fits(json!({ "a": 1, "d": 1 })), [": d is not in the schema"]);
        assert_eq!(misfits(&json!({ "oneOf": [] }), &json!(1)), [": 1 is against oneOf []"]);
    }
}
