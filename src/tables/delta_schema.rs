//! What of the schema in a Delta log cannot be read, by the column: deltalake tells a place in a text.

use crate::error::Error;
use serde_json::Value;

/// The types of Delta's schemas that stand there by name alone; decimals have digits besides.
const TYPES: &[&str] = &[
    "string",
    "long",
    "integer",
    "short",
    "byte",
    "float",
    "double",
    "boolean",
    "binary",
    "date",
    "timestamp",
    "timestamp_ntz",
    "variant",
    "void",
];

/// Why the schema of a metadata action cannot be read, where that can be told.
pub(super) fn unreadable(metadata: &Value) -> Option<Error> {
    let text = metadata.get("schemaString")?.as_str()?;
    let Ok(schema) = serde_json::from_str::<Value>(text) else {
        let error = Error::failed("the table's schema, which its log holds as a text, is no JSON");
        return Some(error.hint("the commit under _delta_log that has it is damaged: restore it"));
    };
    let (column, kind) = of_struct(&schema, "")?;
    let hint = if kind.starts_with("varchar") || kind.starts_with("char") {
        "a Delta schema has `string` for it, and the length in the field's metadata: have the table's writer repair it"
    } else {
        "a Delta schema has types such as `string`, `long` and `decimal(10,2)`: have the table's writer repair it"
    };
    let message = format!("a column of the table's schema is of a type that Delta does not have: `{kind}`");
    Some(Error::failed(message).with("column", column).hint(hint))
}

/// The first field of an unknown type, and the type.
fn of_struct(schema: &Value, above: &str) -> Option<(String, String)> {
    schema.get("fields")?.as_array()?.iter().find_map(|field| {
        let name = field.get("name")?.as_str()?;
        let path = if above.is_empty() { name.to_owned() } else { format!("{above}.{name}") };
        of_type(field.get("type")?, &path)
    })
}

fn of_type(kind: &Value, path: &str) -> Option<(String, String)> {
    let inside = |key: &str, step: &str| of_type(kind.get(key)?, &format!("{path}.{step}"));
    match kind.as_str().or_else(|| kind.get("type")?.as_str()) {
        Some("struct") if kind.is_object() => of_struct(kind, path),
        Some("array") if kind.is_object() => inside("elementType", "element"),
        Some("map") if kind.is_object() => inside("keyType", "key").or_else(|| inside("valueType", "value")),
        Some(name) if kind.is_string() && is_known(name) => None,
        Some(name) => Some((path.to_owned(), name.to_owned())),
        None => Some((path.to_owned(), kind.to_string())),
    }
}

fn is_known(name: &str) -> bool {
    let Some(digits) = name.strip_prefix("decimal") else { return TYPES.contains(&name) };
    let inside = digits.trim().strip_prefix('(').and_then(|digits| digits.strip_suffix(')'));
    let numbers = inside.and_then(|inside| inside.split_once(','));
    let number = |text: &str| text.trim().parse::<u8>().ok();
    match numbers.map(|(precision, scale)| (number(precision), number(scale))) {
        Some((Some(precision), Some(scale))) => (1..=38).contains(&precision) && scale <= precision,
        Some(_) => false,
        None => digits.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(kind: Value) -> Option<String> {
        let fields = json!([{"name": "id", "type": "long"}, {"name": "x", "type": kind}]);
        let schema = json!({"type": "struct", "fields": fields}).to_string();
        unreadable(&json!({"schemaString": schema})).map(|error| error.to_string())
    }

    #[test]
    fn types_that_delta_has_pass() {
        let names = TYPES.iter().map(|name| json!(name));
        let others = [
            json!("decimal(38,0)"),
            json!("decimal( 5, 5 )"),
            json!("decimal"),
            json!({"type": "array", "elementType": "string", "containsNull": true}),
            json!({"type": "map", "keyType": "string", "valueType": {"type": "struct", "fields": []}}),
        ];
        for kind in names.chain(others) {
            assert_eq!(of(kind.clone()), None, "{kind}");
        }
        assert!(unreadable(&json!({"id": 1})).is_none());
    }

    #[test]
    fn a_type_that_is_none_is_told_with_its_column() {
        for (kind, name, column) in [
            (json!("varchar(5)"), "`varchar(5)`", "x"),
            (json!("hyperlong"), "`hyperlong`", "x"),
            (json!("struct"), "`struct`", "x"),
            (json!("decimal(99,2)"), "`decimal(99,2)`", "x"),
            (json!("decimal(2,5)"), "`decimal(2,5)`", "x"),
            (json!("decimal(a,b)"), "`decimal(a,b)`", "x"),
            (json!({"type": "array", "elementType": "char(3)"}), "`char(3)`", "x.element"),
            (json!({"type": "map", "keyType": "text", "valueType": "long"}), "`text`", "x.key"),
            (json!({"type": "struct", "fields": [{"name": "y", "type": "int"}]}), "`int`", "x.y"),
            (json!(7), "`7`", "x"),
        ] {
            let told = of(kind).unwrap();
            assert!(told.contains(name) && told.contains(&format!("column = {column}")), "{told}");
        }
        let told = unreadable(&json!({"schemaString": "{"})).unwrap();
        assert!(told.to_string().contains("no JSON"), "{told}");
    }
}
