//! Small model files of each format, made here.

use serde_json::{Value, json};

/// A LightGBM file with these header lines (beside those that every file has) and trees.
pub fn lightgbm(features: usize, outputs: usize, header: &str, trees: &[&str], rest: &str) -> Vec<u8> {
    let names: Vec<String> = (0..features).map(|feature| format!("Column_{feature}")).collect();
    let trees: String = trees.iter().enumerate().map(|(number, tree)| format!("Tree={number}\n{tree}\n\n\n")).collect();
    format!(
        "tree\nversion=v4\nnum_class={outputs}\nnum_tree_per_iteration={outputs}\nlabel_index=0\nmax_feature_idx={}\n\
         {header}\nfeature_names={}\ntree_sizes=1 2 3\n\n{trees}end of trees\n\nfeature_importances:\n\nparameters:\n\
         [boosting: gbdt]\nend of parameters\n\n{rest}",
        features - 1,
        names.join(" ")
    )
    .into_bytes()
}

/// A tree of LightGBM with one split on the first feature: 1 on the left, 2 on the right.
pub fn stump(decision: u8, threshold: &str) -> String {
    format!(
        "num_leaves=2\nnum_cat=0\nsplit_feature=0\nthreshold={threshold}\ndecision_type={decision}\nleft_child=-1\n\
         right_child=-2\nleaf_value=1 2\nis_linear=0\nshrinkage=1"
    )
}

/// A tree of XGBoost with one split on the first feature: 1 on the left, 2 on the right.
pub fn xgboost_stump(condition: f64, default_left: u8) -> Value {
    json!({
        "tree_param": {"num_nodes": "3", "size_leaf_vector": "1"},
        "left_children": [1, -1, -1], "right_children": [2, -1, -1], "split_indices": [0, 0, 0],
        "split_conditions": [condition, 1.0, 2.0], "default_left": [default_left, 0, 0], "split_type": [0, 0, 0],
        "categories": [], "categories_nodes": [], "categories_segments": [], "categories_sizes": [],
    })
}

/// An XGBoost model with one output.
pub fn xgboost(objective: &str, base_score: &str, trees: Vec<Value>) -> Value {
    let outputs = vec![0; trees.len()];
    json!({"learner": {
        "attributes": {}, "feature_names": [], "feature_types": [],
        "gradient_booster": {"name": "gbtree", "model": {
            "gbtree_model_param": {"num_parallel_tree": "1", "num_trees": trees.len().to_string()},
            "tree_info": outputs, "trees": trees,
        }},
        "learner_model_param": {"base_score": base_score, "num_class": "0", "num_feature": "2", "num_target": "1"},
        "objective": {"name": objective},
    }, "version": [3, 2, 0]})
}

/// The document as UBJSON: numbers as doubles or long integers, lists of floats typed.
pub fn ubj(value: &Value) -> Vec<u8> {
    let text = |text: &str| [b"L", &(text.len() as u64).to_be_bytes()[..], text.as_bytes()].concat();
    match value {
        Value::Null => b"Z".to_vec(),
        Value::Bool(true) => b"T".to_vec(),
        Value::Bool(false) => b"F".to_vec(),
        Value::Number(number) => match number.as_i64() {
            Some(number) => [b"L", &number.to_be_bytes()[..]].concat(),
            None => [b"D", &number.as_f64().unwrap().to_be_bytes()[..]].concat(),
        },
        Value::String(string) => [b"S".to_vec(), text(string)].concat(),
        Value::Array(values) if !values.is_empty() && values.iter().all(Value::is_f64) => {
            let mut bytes = [b"[$d#L", &(values.len() as u64).to_be_bytes()[..]].concat();
            values.iter().for_each(|value| bytes.extend((value.as_f64().unwrap() as f32).to_be_bytes()));
            bytes
        }
        Value::Array(values) => {
            let mut bytes = [b"[#L", &(values.len() as u64).to_be_bytes()[..]].concat();
            values.iter().for_each(|value| bytes.extend(ubj(value)));
            bytes
        }
        Value::Object(members) => {
            let mut bytes = b"{".to_vec();
            members.iter().for_each(|(key, value)| bytes.extend([text(key), ubj(value)].concat()));
            bytes.push(b'}');
            bytes
        }
    }
}

/// A message of a protocol buffer.
#[derive(Default, Clone)]
pub struct Proto(pub Vec<u8>);

impl Proto {
    fn varint(mut value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }

    pub fn int(mut self, field: u64, value: i64) -> Self {
        self.0.extend([Self::varint(field << 3), Self::varint(value as u64)].concat());
        self
    }

    pub fn bytes(mut self, field: u64, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        self.0.extend([Self::varint(field << 3 | 2), Self::varint(bytes.len() as u64), bytes.to_vec()].concat());
        self
    }

    pub fn message(self, field: u64, message: Self) -> Self {
        self.bytes(field, message.0)
    }
}

/// The value of an attribute.
pub enum Attribute<'a> {
    Int(i64),
    Text(&'a str),
    Float(f32),
    Ints(&'a [i64]),
    Floats(&'a [f32]),
    Texts(&'a [&'a str]),
    Tensor(i64, &'a [f32]),
}

/// A node with its attributes.
pub fn node(
    domain: &str,
    operator: &str,
    inputs: &[&str],
    outputs: &[&str],
    attributes: &[(&str, Attribute<'_>)],
) -> Proto {
    let mut node = Proto::default();
    node = inputs.iter().fold(node, |node, input| node.bytes(1, input));
    node = outputs.iter().fold(node, |node, output| node.bytes(2, output));
    node = node.bytes(4, operator).bytes(7, domain);
    for (name, value) in attributes {
        let attribute = Proto::default().bytes(1, name);
        let attribute = match value {
            Attribute::Int(value) => attribute.int(3, *value),
            Attribute::Text(value) => attribute.bytes(4, value),
            Attribute::Float(value) => {
                let mut attribute = attribute;
                attribute.0.push(2 << 3 | 5);
                attribute.0.extend(value.to_le_bytes());
                attribute
            }
            Attribute::Ints(values) => values.iter().fold(attribute, |attribute, value| attribute.int(8, *value)),
            Attribute::Floats(values) => {
                attribute.bytes(7, values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())
            }
            Attribute::Texts(values) => values.iter().fold(attribute, |attribute, value| attribute.bytes(9, value)),
            Attribute::Tensor(kind, values) => attribute.message(5, tensor("", *kind, &[values.len() as i64], values)),
        };
        node = node.message(5, attribute);
    }
    node
}

/// A constant; of kind 2 (bytes) and 7 (long integers) the numbers are whole.
pub fn tensor(name: &str, kind: i64, shape: &[i64], values: &[f32]) -> Proto {
    let tensor = shape.iter().fold(Proto::default(), |tensor, size| tensor.int(1, *size)).int(2, kind).bytes(8, name);
    match kind {
        1 => tensor.bytes(9, values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>()),
        2 => tensor.bytes(9, values.iter().map(|value| *value as u8).collect::<Vec<u8>>()),
        _ => values.iter().fold(tensor, |tensor, value| tensor.int(7, *value as i64)),
    }
}

/// A model: inputs by name, element type and width; the nodes in order; constants; the names of outputs.
pub fn onnx(inputs: &[(&str, i64, i64)], nodes: Vec<Proto>, constants: Vec<Proto>, outputs: &[&str]) -> Vec<u8> {
    let mut graph = Proto::default();
    graph = nodes.into_iter().fold(graph, |graph, node| graph.message(1, node));
    graph = constants.into_iter().fold(graph, |graph, constant| graph.message(5, constant));
    for (name, element, width) in inputs {
        let size = |size: i64| Proto::default().int(1, size);
        let shape = Proto::default().message(1, Proto::default()).message(1, size(*width));
        let of = Proto::default().message(1, Proto::default().int(1, *element).message(2, shape));
        graph = graph.message(11, Proto::default().bytes(1, name).message(2, of));
    }
    graph = outputs.iter().fold(graph, |graph, name| graph.message(12, Proto::default().bytes(1, name)));
    let opset = Proto::default().bytes(1, "ai.onnx.ml").int(2, 3);
    Proto::default().int(1, 8).bytes(2, "tests").message(7, graph).message(8, opset).0
}
